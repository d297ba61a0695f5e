//! Everything that can be done before anything becomes visible.

use std::{
    collections::VecDeque,
    io::Write,
    path::{Component, Path, PathBuf},
};

use super::{
    disk,
    error::PendingIndexError,
    existing::{Existing, read_config},
    filter::{Destination, Filter, FirstByte, IdSet, Source, Survey, Written, walk},
    input::{IndexRules, Input, Keep},
    inspect::{Form, PendingFiles, PendingLog},
    update::{Outcome, Step, Update},
};
use neo4j_format::{
    DirHandle,
    ids::{DataSource, LogVersion, TxId},
    log::{
        Layout, LogFormat, LogHeader,
        files::{self, Marker, Slot},
    },
    store::{IndexConfig, IndexKey, index_config},
};

const STEP_SLOT: &str = "index/neo4j-backup.lucene.log.step";
const FINAL_SLOT: &str = "index/neo4j-backup.lucene.log";
const NEW_MARKER: &str = "index/neo4j-backup.lucene.active";
const NEW_CONFIG: &str = "neo4j-backup.index.db";

/// Adds `inputs`, in order, to what is pending in the store directory `dir`. `None` if there is nothing to do.
///
/// What is written is durable when this returns, in files with temporary names (which need not last: they are given
/// their own by steps that do) or behind a byte that hides it; no reader of `dir`, Neo4j included, sees any of it before
/// [`Update::step`] or [`Update::commit`].
///
/// # Errors
/// See [`PendingIndexError`]; `dir` is what it was, but for temporary files, see [`discard`].
pub fn prepare(
    dir: &DirHandle,
    format: LogFormat,
    rules: &mut IndexRules<'_>,
    inputs: &[Input<'_>],
) -> Result<Option<Update>, PendingIndexError> {
    discard(dir)?;
    let found = PendingFiles::look(dir, format)?;
    let inputs: Vec<_> = inputs.iter().map(Source::from).collect();
    let layout = Layout {
        format,
        source: DataSource::Lucene,
    };
    let work = Preparation {
        dir,
        layout,
        config: read_config(dir)?,
        found: &found,
    };
    let Some(log) = &found.log else {
        return work.write_anew(rules, &inputs, None);
    };
    let news = Survey::of(&inputs, layout, log.ids.clone())?;
    match (&rules, can_append(log, &news)) {
        (IndexRules::Later, Appending::Nothing) => work.keep(log),
        (IndexRules::Later, Appending::Possible) => work.append(rules, log, &inputs),
        (IndexRules::Neo4j13 { .. }, _) | (IndexRules::Later, Appending::Impossible) => {
            work.write_anew(rules, &inputs, Some(log))
        }
    }
}

/// Removes the temporary files of a [`prepare`] that was not committed.
///
/// # Errors
/// [`PendingIndexError::File`].
pub fn discard(dir: &DirHandle) -> Result<(), PendingIndexError> {
    [STEP_SLOT, FINAL_SLOT, NEW_MARKER, NEW_CONFIG]
        .iter()
        .try_for_each(|name| disk::remove(dir, &dir.join(name)))
}

impl<'a> From<&Input<'a>> for Source<'a> {
    fn from(input: &Input<'a>) -> Source<'a> {
        Source {
            log: input.log,
            path: input.path,
            keep: input.keep,
        }
    }
}

enum Appending {
    /// There is nothing to append, and nothing to mend.
    Nothing,
    Possible,
    /// The log must be rewritten.
    Impossible,
}

struct Preparation<'a> {
    dir: &'a DirHandle,
    layout: Layout,
    config: IndexConfig,
    found: &'a PendingFiles,
}

fn can_append(log: &PendingLog, news: &Survey) -> Appending {
    let last = i64::from(log.end.last_identifier);
    let identifiers = last
        .checked_add_unsigned(news.transactions)
        .is_some_and(|last| last < i32::MAX.into());
    if log.form == Form::ToBeWrittenAnew {
        Appending::Impossible
    } else if news.transactions == 0 {
        Appending::Nothing
    } else if news.deletes.is_empty() && log.end.unfinished.is_empty() && identifiers {
        Appending::Possible
    } else {
        Appending::Impossible
    }
}

impl Preparation<'_> {
    /// Nothing is added to the log; only a crash may have left marker or store behind it.
    fn keep(&self, log: &PendingLog) -> Result<Option<Update>, PendingIndexError> {
        let Some(last_tx) = log.end.last_tx else {
            return Ok(None);
        };
        let mut steps = VecDeque::new();
        self.mark(&mut steps)?;
        if self.found.store.is_some_and(|store| store.last_tx != last_tx) {
            steps.push_back(Step::LastTx(last_tx));
        }
        Ok((!steps.is_empty()).then(|| Update {
            steps,
            directory: self.dir.clone(),
            outcome: Outcome {
                last_tx,
                transactions: log.transactions,
                bytes: log.end.logical_end,
                deleted: Vec::new(),
            },
        }))
    }

    fn append(
        &self,
        rules: &mut IndexRules<'_>,
        log: &PendingLog,
        inputs: &[Source<'_>],
    ) -> Result<Option<Update>, PendingIndexError> {
        let slot = PathBuf::from(files::slot(DataSource::Lucene, self.found.slot));
        let path = self.dir.join(&slot);
        let file = disk::open_to_change(self.dir, &path)?;
        let offset = log.end.logical_end;
        file.set_len(offset)
            .map_err(PendingIndexError::file(&path, "cut its end"))?;
        let existing = Existing::new(log.changes.to(&self.config));
        let to = Destination {
            file,
            path: &path,
            position: offset,
            last_identifier: log.end.last_identifier,
            first_byte: FirstByte::Zero,
        };
        let survey = Survey::default();
        let mut filter = Filter::new(to, existing, &survey.deletes, rules)?;
        walk(inputs, self.layout, log.ids.clone(), |part, keep| {
            filter.part(part, keep)
        })?;
        let bytes = filter.position();
        let (file, written) = filter.finish()?;
        disk::sync(&file, &path)?;
        let Some(last_tx) = written.last else {
            return Ok(None);
        };
        let mut steps = VecDeque::from([Step::Reveal { slot, offset }]);
        self.mark(&mut steps)?;
        if self.found.store.is_some() {
            steps.push_back(Step::LastTx(last_tx));
        }
        Ok(Some(Update {
            steps,
            directory: self.dir.clone(),
            outcome: Outcome {
                last_tx,
                transactions: log.transactions.saturating_add(written.transactions),
                bytes,
                deleted: Vec::new(),
            },
        }))
    }

    fn write_anew(
        &self,
        rules: &mut IndexRules<'_>,
        inputs: &[Source<'_>],
        log: Option<&PendingLog>,
    ) -> Result<Option<Update>, PendingIndexError> {
        let slot = PathBuf::from(files::slot(DataSource::Lucene, self.found.slot));
        let path = self.dir.join(&slot);
        let mut sources: Vec<_> = log
            .map(|log| Source {
                log: &log.file,
                path: &path,
                keep: Keep::All,
            })
            .into_iter()
            .collect();
        sources.extend_from_slice(inputs);
        let survey = Survey::of(&sources, self.layout, IdSet::default())?;
        if survey.transactions == 0 {
            return Ok(None);
        }
        let index = self.dir.join("index");
        self.dir
            .create_folders("index")
            .map_err(PendingIndexError::file(&index, "create it"))?;
        let (bytes, written) = self.slot(FINAL_SLOT, &sources, &survey, rules)?;
        let unchanged = log.is_some_and(|log| {
            let same = written.changes == 0 && written.transactions == log.transactions;
            same && log.form == Form::Fit && log.end.unfinished.is_empty()
        });
        let Some(last_tx) = written.last.filter(|_| !unchanged) else {
            discard(self.dir)?;
            return log.map_or(Ok(None), |log| self.keep(log));
        };
        let mut steps = VecDeque::new();
        self.begin(&mut steps)?;
        if !survey.deletes.is_empty() {
            if log.is_some() {
                let old = sources.get(..1).unwrap_or_default();
                self.slot(STEP_SLOT, old, &survey, rules)?;
                publish(&mut steps, STEP_SLOT, slot.clone());
            }
            self.delete_indexes(&mut steps, survey.deletes.keys())?;
        }
        publish(&mut steps, FINAL_SLOT, slot);
        self.mark(&mut steps)?;
        if self.found.store.is_some() {
            steps.push_back(Step::LastTx(last_tx));
        }
        Ok(Some(Update {
            steps,
            directory: self.dir.clone(),
            outcome: Outcome {
                last_tx,
                transactions: written.transactions,
                bytes,
                deleted: survey.deletes.into_keys().collect(),
            },
        }))
    }

    /// Writes a whole slot under a temporary name; gives its length.
    fn slot(
        &self,
        name: &str,
        sources: &[Source<'_>],
        survey: &Survey,
        rules: &mut IndexRules<'_>,
    ) -> Result<(u64, Written), PendingIndexError> {
        let path = self.dir.join(name);
        let existing = Existing::new(self.config.indexes());
        let to = Destination {
            file: disk::create(self.dir, &path)?,
            path: &path,
            position: LogHeader::END,
            last_identifier: 1,
            first_byte: FirstByte::Written,
        };
        let mut filter = Filter::new(to, existing, &survey.deletes, rules)?;
        walk(sources, self.layout, IdSet::default(), |part, keep| {
            filter.part(part, keep)
        })?;
        let bytes = filter.position();
        let (file, written) = filter.finish()?;
        let header = LogHeader {
            format: self.layout.format,
            version: self.version(),
            previous_last_tx: written.first.unwrap_or(TxId::BASE.next()).previous(),
        };
        let header = std::os::unix::fs::FileExt::write_all_at(&file, &header.encode(), 0);
        header.map_err(PendingIndexError::file(&path, "write to it"))?;
        disk::sync(&file, &path)?;
        Ok((bytes, written))
    }

    /// The store's log version, or the first behind it whose archived log does not exist.
    fn version(&self) -> LogVersion {
        let mut version = self.found.store.unwrap_or_default().version;
        while self.dir.has(files::archived(DataSource::Lucene, version)) {
            version = version.next();
        }
        version
    }

    /// Leftovers that would be replayed, archived or deleted once the marker changes go first, the marker last.
    fn begin(&self, steps: &mut VecDeque<Step>) -> Result<(), PendingIndexError> {
        let (one, two) = (
            files::slot(DataSource::Lucene, Slot::One),
            files::slot(DataSource::Lucene, Slot::Two),
        );
        let leftovers: &[&[&str]] = match self.found.marker {
            None => &[&[two]],
            Some(Marker::Clean) => &[&[one, two], &[files::marker(DataSource::Lucene)]],
            Some(Marker::Active(_)) => &[],
        };
        for names in leftovers {
            let mut there = Vec::new();
            for name in *names {
                if disk::open(self.dir, &self.dir.join(name))?.is_some() {
                    there.push(PathBuf::from(name));
                }
            }
            if !there.is_empty() {
                steps.push_back(Step::Remove(there));
            }
        }
        let version = self.version();
        if self.found.store.is_some_and(|store| store.version != version) {
            steps.push_back(Step::Version(version));
        }
        Ok(())
    }

    fn mark(&self, steps: &mut VecDeque<Step>) -> Result<(), PendingIndexError> {
        let marker = Marker::Active(self.found.slot);
        if self.found.marker == Some(marker) {
            return Ok(());
        }
        self.temporary(NEW_MARKER, &marker.encode())?;
        publish(steps, NEW_MARKER, files::marker(DataSource::Lucene).into());
        Ok(())
    }

    fn delete_indexes<'i>(
        &self,
        steps: &mut VecDeque<Step>,
        deleted: impl Iterator<Item = &'i IndexKey>,
    ) -> Result<(), PendingIndexError> {
        let mut config = self.config.clone();
        let mut directories = Vec::new();
        for index in deleted {
            config.remove(index);
            directories.push(Step::RemoveIndex(directory(index)?));
        }
        if config != self.config {
            self.temporary(NEW_CONFIG, &config.encode())?;
            publish(steps, NEW_CONFIG, index_config::PATH.into());
        }
        steps.extend(directories);
        Ok(())
    }

    fn temporary(&self, name: &str, content: &[u8]) -> Result<(), PendingIndexError> {
        let path = self.dir.join(name);
        let mut file = disk::create(self.dir, &path)?;
        file.write_all(content)
            .map_err(PendingIndexError::file(&path, "write to it"))?;
        disk::sync(&file, &path)
    }
}

fn publish(steps: &mut VecDeque<Step>, from: &str, to: PathBuf) {
    let from = from.into();
    steps.push_back(Step::Publish { from, to });
}

/// Directory of an index relative to the store directory. Neo4j takes the name as a path, so it may have several parts,
/// but it must not lead elsewhere.
pub(super) fn directory(index: &IndexKey) -> Result<PathBuf, PendingIndexError> {
    let name = index.name.to_text().filter(|name| !name.contains('\0'));
    let name = name.map(PathBuf::from).filter(|name| {
        let mut parts = name.components().peekable();
        parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
    });
    match name {
        Some(name) => Ok(Path::new(index_config::LUCENE_DIR)
            .join(index.kind.directory())
            .join(name)),
        None => Err(PendingIndexError::IndexName(index.clone())),
    }
}
