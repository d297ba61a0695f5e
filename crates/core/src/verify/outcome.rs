//! The verification of one directory and what it comes to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    compare::{self, Differences, Expected},
    explain::Circumstances,
    finding::{Cause, FileFinding, FileProblem},
    traces::{Opened, Traces},
};
use crate::{
    Error, ErrorKind,
    cancel::Cancel,
    error::Setting,
    file_system,
    manifest::{
        MANIFEST, Manifest, ManifestError, SUMS, State,
        files::{self, Role},
        sums::{self, DIGEST, MAGIC, SumsReader, SumsTable},
    },
    progress::{Phase, Progress},
};
use neo4j_format::{DirHandle, DiskError, directory::NotUsable, store::StoreFile};

/// What a verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyVerdict {
    /// Every byte is as it was written.
    Intact,
    /// Neo4j opened it since, and every difference is one that it makes.
    ChangedByNeo4j,
    /// An incremental backup did not end; the next one goes on from here.
    InterruptedUpdate,
    /// There are differences that nothing explains.
    Damaged,
}

impl VerifyVerdict {
    /// The word for it in reports.
    pub const fn name(self) -> &'static str {
        match self {
            VerifyVerdict::Intact => "intact",
            VerifyVerdict::ChangedByNeo4j => "changed-by-neo4j",
            VerifyVerdict::InterruptedUpdate => "interrupted-update",
            VerifyVerdict::Damaged => "damaged",
        }
    }

    /// The exit code of the program.
    pub fn exit_code(self) -> u8 {
        match self {
            VerifyVerdict::Intact => 0,
            VerifyVerdict::ChangedByNeo4j | VerifyVerdict::InterruptedUpdate => ErrorKind::Changed.exit_code(),
            VerifyVerdict::Damaged => ErrorKind::Damaged.exit_code(),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyOutcome {
    /// What it comes to.
    pub verdict: VerifyVerdict,
    /// The run that made the present state, where the manifest can be read and knows one.
    pub run_id: Option<String>,
    /// Milliseconds since 1970 at which that run was complete.
    pub finished: Option<u64>,
    /// Files in the manifest.
    pub files: u64,
    /// Bytes in the manifest.
    pub bytes: u64,
    /// Bytes of these for which no checksum could be read.
    pub unchecked_bytes: u64,
    /// Whether Neo4j opened the directory.
    pub opened: Opened,
    /// Every file that is not as it was, in the order of the names.
    pub findings: Vec<FileFinding>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Whether the manifest has a record of this verification.
    pub recorded: bool,
}

impl VerifyOutcome {
    /// What there is to say about a directory whose manifest was just written from it.
    pub fn adopted(manifest: &Manifest) -> VerifyOutcome {
        VerifyOutcome {
            notes: vec!["adopted as is: earlier damage cannot be detected".to_owned()],
            ..VerifyOutcome::of(manifest)
        }
    }

    fn of(manifest: &Manifest) -> VerifyOutcome {
        VerifyOutcome {
            verdict: VerifyVerdict::Intact,
            run_id: manifest.run_id().map(str::to_owned),
            finished: manifest.finished,
            files: manifest.files.len() as u64,
            bytes: manifest.files.iter().map(|file| file.length).sum(),
            unchecked_bytes: 0,
            opened: Opened::No,
            findings: Vec::new(),
            notes: Vec::new(),
            recorded: false,
        }
    }
}

/// Compares the directory with its manifest, every byte of it. Nothing is written.
///
/// # Errors
/// There is no database or no manifest; the manifest is one of another version; the directory changed meanwhile; this
/// process may not read a file, or a limit keeps it from that; the run was cancelled. Files that are missing, damaged or
/// refused by the disk are no error but findings.
pub fn verify(dir: &DirHandle, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
    let manifest = match Manifest::read(dir) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Err(no_manifest(dir)),
        Err(ManifestError::Damaged { .. }) => return Ok(without_manifest()),
        Err(error) => return Err(error.into()),
    };
    if manifest.state == State::Receiving {
        let text = format!("{}: an incomplete full backup; it cannot be used", dir.display());
        return Err(Error::new(ErrorKind::Damaged, text).with_hint("the next full backup removes it and starts again"));
    }
    progress.phase(Phase::Checking);
    let outcome = Comparison::new(dir, &manifest)?.run(progress, cancel)?;
    match Manifest::read(dir) {
        Ok(Some(now)) if now == manifest => Ok(outcome),
        Err(error @ ManifestError::Io { .. }) => Err(error.into()),
        _ => {
            let text = format!("{}: changed during verification", dir.display());
            Err(Error::new(ErrorKind::TargetInUse, text).with_hint("verify again when no other run uses the directory"))
        }
    }
}

fn no_manifest(dir: &DirHandle) -> Error {
    if dir.has_file(StoreFile::Neostore.name()) {
        let text = format!(
            "{}: no manifest, so there are no checksums to compare with",
            dir.display()
        );
        return Error::new(ErrorKind::Failed, text)
            .with_hint("adopt it, which records checksums of its present state")
            .see(&[Setting::Adopt]);
    }
    let text = format!("{}: holds neither a backup nor a database", dir.display());
    Error::new(ErrorKind::NotOurs, text).with_hint("name the directory of a backup")
}

/// The outcome where nothing can be compared, since the manifest itself is what is damaged.
fn without_manifest() -> VerifyOutcome {
    VerifyOutcome {
        verdict: VerifyVerdict::Damaged,
        run_id: None,
        finished: None,
        files: 0,
        bytes: 0,
        unchecked_bytes: 0,
        opened: Opened::No,
        findings: vec![FileFinding::whole(MANIFEST, FileProblem::Damaged, None, None)],
        notes: vec!["the other files could not be checked".to_owned()],
        recorded: false,
    }
}

struct Comparison<'a> {
    dir: &'a DirHandle,
    manifest: &'a Manifest,
    /// What is there and how long it is; `None` if it is not a regular file.
    found: BTreeMap<String, (Option<u64>, Role)>,
    findings: Vec<FileFinding>,
    notes: Vec<String>,
}

impl<'a> Comparison<'a> {
    fn new(dir: &'a DirHandle, manifest: &'a Manifest) -> Result<Comparison<'a>, DiskError> {
        let found = files::list(dir)?.into_iter();
        Ok(Comparison {
            dir,
            manifest,
            found: found.map(|found| (found.path, (found.length, found.role))).collect(),
            findings: Vec::new(),
            notes: Vec::new(),
        })
    }

    fn run(mut self, progress: &dyn Progress, cancel: &Cancel) -> Result<VerifyOutcome, Error> {
        let traces = Traces::read(self.dir, self.manifest);
        let trusted = self.check_sums()?;
        // where an update was interrupted, these may be the checksums of another list of files
        let comparable = trusted || self.manifest.state != State::Updating;
        let table = SumsTable::open(self.dir, SUMS).ok().filter(|_| comparable);
        let expected = self.expected();
        let differences = match &table {
            Some(table) => compare::compare(self.dir, &expected, table, progress, cancel)?,
            None => expected.iter().map(unchecked).collect(),
        };
        let circumstances = Circumstances {
            dir: self.dir,
            manifest: self.manifest,
            traces: &traces,
            table: table.as_ref().filter(|_| trusted),
        };
        self.judge_files(&circumstances, &expected, &differences, trusted);
        self.judge_others(&circumstances);
        cancel.check()?;
        self.findings.sort_by(|a, b| a.path.cmp(&b.path));
        let opened = traces.opened(self.manifest);
        self.note(&traces, opened);
        Ok(VerifyOutcome {
            verdict: verdict(&self.findings, self.manifest.state),
            unchecked_bytes: differences.iter().map(|found| found.unchecked).sum(),
            opened,
            findings: self.findings,
            notes: self.notes,
            ..VerifyOutcome::of(self.manifest)
        })
    }

    /// Whether the checksum file is the one that the manifest belongs to. Where an update was interrupted it may be the
    /// next one, which is not damage.
    ///
    /// # Errors
    /// It cannot be read for another reason than the disk.
    fn check_sums(&mut self) -> Result<bool, Error> {
        let chunks: u64 = self.manifest.files.iter().map(|file| sums::chunks(file.length)).sum();
        let expected = MAGIC.len() as u64 + chunks * DIGEST as u64;
        let found = self.found.get(SUMS).map(|(length, _)| *length);
        let path = self.dir.join(SUMS);
        let whole = SumsReader::open(self.dir, SUMS).and_then(SumsReader::finish);
        if found == Some(Some(expected)) && whole.as_ref().ok() == self.manifest.sums_checksum.as_ref() {
            return Ok(true);
        }
        match whole {
            Err(error) if NotUsable::of(&error).is_none() && file_system::kind(&error) != ErrorKind::Disk => {
                return Err(DiskError::new(path, error).into());
            }
            _ => {}
        }
        let (problem, length) = match found {
            None => (FileProblem::Missing, None),
            Some(None) => (FileProblem::NotAFile, None),
            Some(Some(length)) if length < expected => (FileProblem::Truncated, Some(length)),
            Some(Some(length)) if length > expected => (FileProblem::Grown, Some(length)),
            Some(length) => (FileProblem::Damaged, length),
        };
        let mut finding = FileFinding::whole(SUMS, problem, Some(expected), length);
        if self.manifest.state == State::Updating {
            finding.cause = Cause::Update;
        }
        self.findings.push(finding);
        Ok(false)
    }

    /// The listed files that are there, with the numbers of their digests.
    fn expected(&self) -> Vec<Expected<'a>> {
        let mut first_digest = 0;
        let mut expected = Vec::new();
        for entry in &self.manifest.files {
            if let Some((Some(found), Role::Content)) = self.found.get(&entry.path) {
                expected.push(Expected {
                    path: &entry.path,
                    length: entry.length,
                    found: *found,
                    first_digest,
                });
            }
            first_digest += sums::chunks(entry.length);
        }
        expected
    }

    fn judge_files(
        &mut self,
        circumstances: &Circumstances<'_>,
        expected: &[Expected<'_>],
        differences: &[Differences],
        trusted: bool,
    ) {
        for (file, found) in expected.iter().zip(differences) {
            let problem = match &found.error {
                Some(_) => FileProblem::Unreadable,
                None if file.found < file.length => FileProblem::Truncated,
                None if file.found > file.length => FileProblem::Grown,
                None if found.count > 0 => FileProblem::Damaged,
                None => continue,
            };
            let mut finding = FileFinding::whole(file.path, problem, Some(file.length), Some(file.found));
            finding.set_ranges(&found.chunks, found.count);
            finding.error = found.error.as_ref().map(ToString::to_string);
            finding.cause = circumstances.cause(&finding, Some((file, found)));
            if problem == FileProblem::Damaged && !trusted && finding.cause == Cause::Damage {
                finding.cause = Cause::Checksums;
            }
            self.findings.push(finding);
        }
    }

    /// What is missing, what is not a file, and what the manifest does not list.
    fn judge_others(&mut self, circumstances: &Circumstances<'_>) {
        let mut findings = Vec::new();
        for entry in &self.manifest.files {
            if Role::of(&entry.path) != Role::Content {
                continue;
            }
            let problem = match self.found.remove(&entry.path) {
                Some((Some(_), _)) => continue,
                Some((None, _)) => FileProblem::NotAFile,
                None => FileProblem::Missing,
            };
            findings.push(FileFinding::whole(&entry.path, problem, Some(entry.length), None));
        }
        let mut foreign = Vec::new();
        for (path, (length, role)) in &self.found {
            match (role, length) {
                (Role::Content | Role::NotText, Some(_)) => {
                    findings.push(FileFinding::whole(path, FileProblem::Extra, None, *length));
                }
                (Role::Content | Role::NotText, None) => {
                    findings.push(FileFinding::whole(path, FileProblem::NotAFile, None, None));
                }
                (Role::Working, _) => self.notes.push(format!(
                    "{path} is a leftover of an interrupted run and not part of the backup; the next run removes it"
                )),
                (Role::Foreign, _) => foreign.push(path.as_str()),
                (Role::Ledger | Role::Lock, _) => {}
            }
        }
        if !foreign.is_empty() {
            self.notes.push(format!(
                "not part of the backup and not compared: {}",
                foreign.join(", ")
            ));
        }
        for mut finding in findings {
            finding.cause = circumstances.cause(&finding, None);
            self.findings.push(finding);
        }
    }

    fn note(&mut self, traces: &Traces, opened: Opened) {
        match opened {
            Opened::No => {}
            Opened::Closed => self
                .notes
                .push("Neo4j has opened this directory since the backup and shut down cleanly".to_owned()),
            Opened::NotClosed => self
                .notes
                .push("Neo4j has opened this directory since the backup and is still running or was killed".to_owned()),
            Opened::Contradictory => {
                for missing in traces.missing(self.manifest) {
                    self.notes.push(format!(
                        "the traces of a start of Neo4j contradict each other: {missing}"
                    ));
                }
            }
        }
        let neo4j = self.findings.iter().any(|finding| finding.cause == Cause::Neo4j);
        if neo4j && !traces.same_graph(self.manifest) {
            let text =
                "transactions were committed since the backup: damage in the records they changed cannot be detected";
            self.notes.push(text.to_owned());
        }
        if self.manifest.state == State::Updating {
            let text = "an incremental backup of this directory was interrupted: run it again to complete it";
            self.notes.push(text.to_owned());
        }
    }
}

/// What becomes of a file where there are no checksums at all.
fn unchecked(file: &Expected<'_>) -> Differences {
    Differences {
        unchecked: file.length.min(file.found),
        ..Differences::default()
    }
}

fn verdict(findings: &[FileFinding], state: State) -> VerifyVerdict {
    let any = |cause| findings.iter().any(|finding| finding.cause == cause);
    if any(Cause::Damage) || any(Cause::Checksums) {
        VerifyVerdict::Damaged
    } else if state == State::Updating {
        VerifyVerdict::InterruptedUpdate
    } else if any(Cause::Neo4j) {
        VerifyVerdict::ChangedByNeo4j
    } else {
        VerifyVerdict::Intact
    }
}
