//! Which releases open a directory (`docs/formats/store-format.md` §9, `docs/formats/neo4j-1.3.md` §2).

use crate::manifest::Manifest;
use neo4j_format::{store::StoreFormat, wire::Dialect};

/// Bytes of `index/lucene-store.db` since 1.6, which refuses a shorter one without leave to upgrade.
const LUCENE_STORE_1_6: u64 = 40;

/// What is known of the directory.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Format of the store.
    pub format: StoreFormat,
    /// Records of `neostore`: 5 in 1.5, 6 from 1.6 on.
    pub header_records: Option<u64>,
    /// Bytes of `index/lucene-store.db`.
    pub lucene_store: Option<u64>,
    /// The manifest, which remembers the server's dialect.
    pub manifest: Option<&'a Manifest>,
}

/// The releases, as a sentence for people.
pub fn releases(evidence: Evidence<'_>) -> String {
    let runs = evidence.manifest.map(|manifest| manifest.chain.as_slice());
    let newest = runs.and_then(<[_]>::last);
    let dialect = newest.and_then(|run| Dialect::from_name(&run.dialect));
    let old_indexes = evidence.lucene_store.is_some_and(|bytes| bytes < LUCENE_STORE_1_6);
    match (evidence.format, dialect) {
        (StoreFormat::Legacy, Some(Dialect::D13)) => {
            "1.3, which it was taken from; 1.5 - 1.9 convert a cleanly closed one with allow_store_upgrade=true"
                .to_owned()
        }
        (StoreFormat::Legacy, Some(_)) => {
            "1.4, which it was taken from; 1.5 - 1.9 convert a cleanly closed one with allow_store_upgrade=true"
                .to_owned()
        }
        (StoreFormat::Legacy, None) => {
            "1.3 or 1.4, whose files are the same; 1.5 - 1.9 convert a cleanly closed one with allow_store_upgrade=true"
                .to_owned()
        }
        (StoreFormat::Current, _) if old_indexes => {
            "1.5; 1.6 - 1.9 with allow_store_upgrade=true, because of its indexes".to_owned()
        }
        (StoreFormat::Current, _) if evidence.header_records == Some(5) => "1.5 - 1.9".to_owned(),
        (StoreFormat::Current, _) => {
            "1.6 - 1.9, the one it was taken from or a newer one; 1.5 where it has no index".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_index_store_keeps_newer_releases_out() {
        let evidence = |lucene_store, header_records| Evidence {
            format: StoreFormat::Current,
            header_records,
            lucene_store,
            manifest: None,
        };
        assert!(releases(evidence(Some(32), Some(5))).contains("allow_store_upgrade"));
        assert!(!releases(evidence(Some(40), Some(6))).contains("allow_store_upgrade"));
        assert_eq!(releases(evidence(None, Some(5))), "1.5 - 1.9");
    }
}
