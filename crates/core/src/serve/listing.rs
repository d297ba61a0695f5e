//! The files of a directory, as a server hands them out (`docs/formats/wire-protocol.md` §9.2).

use std::{io, os::unix::fs::FileExt};

use super::{Content, Offered, Refusal};
use neo4j_format::{
    DirHandle,
    store::{IndexConfig, StoreFile, StoreFormat, index_config, lucene_store},
    width::to_u64,
    wire::PeerPath,
};

/// Lucene's own lock, which belongs to the process that holds it.
const WRITE_LOCK: &str = "write.lock";

/// All files, `neostore` behind the other stores and `lucene-store.db` last.
///
/// # Errors
/// [`Refusal::Failed`]: a file cannot be read.
pub fn files(dir: &DirHandle, format: StoreFormat) -> Result<Vec<Offered>, Refusal> {
    let mut out = Vec::new();
    let mut config = IndexConfig::default();
    if let Some(bytes) = bytes(dir, index_config::PATH, index_config::FILE_MAX)? {
        config = IndexConfig::decode(&bytes).map_err(|error| Refusal::Failed(error.to_string()))?;
        out.push(Offered {
            path: name(index_config::PATH)?,
            content: Content::Bytes(bytes),
        });
    }
    for kind in StoreFile::ALL {
        out.push(store_file(dir, kind, format)?);
    }
    index_files(dir, &config, &mut out)?;
    if let Some(bytes) = bytes(dir, lucene_store::PATH, lucene_store::SIZE_MAX)? {
        out.push(Offered {
            path: name(lucene_store::PATH)?,
            content: Content::Bytes(bytes),
        });
    }
    Ok(out)
}

/// A store file as a running server has it: without the type and version behind its records.
fn store_file(dir: &DirHandle, kind: StoreFile, format: StoreFormat) -> Result<Offered, Refusal> {
    let failed = |cause: io::Error| Refusal::Failed(format!("{}: {cause}", kind.name()));
    let file = dir.open_file(kind.name()).map_err(failed)?;
    let mut length = file.metadata().map_err(failed)?.len();
    let trailer = kind.trailer(format);
    let records = length.checked_sub(to_u64(trailer.len()));
    if let Some(records) = records {
        let mut end = vec![0; trailer.len()];
        file.read_exact_at(&mut end, records).map_err(failed)?;
        if end == trailer.as_bytes() {
            length = records;
        }
    }
    Ok(Offered {
        path: name(kind.name())?,
        content: Content::Records { file, length, trailer },
    })
}

/// The files of the indexes that `index.db` names. What else lies there belongs to no index.
fn index_files(dir: &DirHandle, config: &IndexConfig, out: &mut Vec<Offered>) -> Result<(), Refusal> {
    for (index, _) in config.iter() {
        let Some(folder) = index.name.to_text().filter(|name| !name.contains('/')) else {
            continue;
        };
        let relative = format!("{}/{}/{folder}", index_config::LUCENE_DIR, index.kind.directory());
        let entries = match dir.folder(&relative).and_then(|folder| folder.entries()) {
            Ok(entries) => entries,
            // an index that was never written to, or of another provider
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Refusal::Failed(format!("{relative}: {e}"))),
        };
        let mut names = Vec::new();
        for entry in entries {
            // Neo4j's names are text
            if let Ok(file_name) = entry.name.into_string()
                && entry.status.is_file()
                && file_name != WRITE_LOCK
                && !file_name.starts_with('.')
            {
                names.push(file_name);
            }
        }
        names.sort();
        for file_name in names {
            let path = format!("{relative}/{file_name}");
            out.push(Offered {
                path: name(&path)?,
                content: Content::Unchanging(dir.clone(), path.clone()),
            });
        }
    }
    Ok(())
}

/// A file of the directory as it is now, where there is one.
fn bytes(dir: &DirHandle, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Refusal> {
    match dir.read(path, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Refusal::Failed(format!("{path}: {e}"))),
    }
}

/// The name of a file for the client.
fn name(path: &str) -> Result<PeerPath, Refusal> {
    PeerPath::to_send(path).map_err(|error| Refusal::Failed(format!("{path:?} {}", error.why)))
}
