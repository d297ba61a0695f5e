//! The check of what transactions changed beside the check of the whole store: streams of real transactions are damaged, and
//! whatever the whole check then calls an error, the other one does not call consistent.
//!
//! `CHANGED_STREAMS` chooses how many, `CHANGED_SEED` which:
//! `CHANGED_STREAMS=5000 cargo test --test sandbox changes:: -- --nocapture`.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tempfile::TempDir;

use crate::support::snapshot;
use neo4j_backup_core::{
    DirHandle,
    cancel::Cancel,
    check::{CheckOptions, CheckReport, Severity, What, WrittenRecords, check},
    replay::{
        apply::{Applier, Growth},
        seal::{seal, unseal},
    },
};
use neo4j_format::{
    ids::{DataSource, StoreId, TxId},
    log::{Buffer, Change, Item, Layout, SecondPass, SlotReader, archived_logs},
    store::{
        Header, StoreFile, StoreFormat,
        header::CURRENT_VERSION,
        record::{
            DynamicHeader, LegacyProperty, Node, Pointer, Property, PropertyKey, RecordId, Relationship,
            RelationshipType,
        },
    },
};
use neo4j_sandbox::{
    database::Database,
    generator::{Generator, WorkloadProfile},
};

const TIME: i64 = 1_350_000_000_000;

/// Streams of a usual run of the tests.
const SAMPLE: u64 = 60;

/// Streams that are made of the transactions of one database.
const PER_DATABASE: u64 = 50;

type Stream = Vec<Change<'static>>;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// A closed store, and what the transactions after it change.
struct Scene {
    format: StoreFormat,
    work: TempDir,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// All records that are in use, in the base or after the transactions.
    images: Stream,
    stream: Stream,
}

impl Scene {
    fn new(seed: u64) -> Scene {
        let format = [StoreFormat::Legacy, StoreFormat::Current][usize::from(seed.is_multiple_of(2))];
        let memory = Path::new("/dev/shm");
        let work = if memory.is_dir() {
            TempDir::new_in(memory)
        } else {
            TempDir::new()
        };
        let work = work.unwrap();
        let dir = work.path().join("source");
        fs::create_dir(&dir).unwrap();
        let id = StoreId {
            creation_time: TIME,
            random: seed.cast_signed(),
            store_version: (format == StoreFormat::Current).then_some(CURRENT_VERSION),
        };
        let generator = Generator::new(seed, WorkloadProfile::of(format));
        let mut database = Database::create(&dir, format, id).unwrap();
        let before = 20 + i64::try_from(seed % 5).unwrap() * 30;
        for step in 0..before {
            generator.step(&mut database, TIME + step).unwrap();
        }
        database.close().unwrap();
        let files = snapshot(&dir).into_iter();
        let files = files
            .map(|(path, bytes)| (path.strip_prefix(&dir).unwrap().to_owned(), bytes))
            .collect();
        let last = Header::open(&DirHandle::open(&dir).unwrap())
            .unwrap()
            .last_transaction()
            .unwrap();
        let mut database = Database::open(&dir).unwrap();
        for step in before..before + 15 {
            generator.step(&mut database, TIME + step).unwrap();
        }
        database.close().unwrap();
        let stream = changes(&dir, format, last);
        let mut scene = Scene {
            format,
            work,
            files,
            images: Stream::new(),
            stream,
        };
        scene.images = StoreFile::ALL.into_iter().flat_map(|kind| scene.all(kind)).collect();
        scene
            .images
            .extend(scene.stream.iter().copied().filter(|change| !is_deletion(change)));
        scene
    }

    /// The records of the base.
    fn all(&self, kind: StoreFile) -> Stream {
        let bytes = &self.files[Path::new(kind.name())];
        let bytes = bytes.strip_suffix(kind.trailer(self.format).as_bytes()).unwrap();
        let size = match kind.record_size(self.format) {
            _ if kind == StoreFile::Neostore => return Stream::new(),
            Some(size) => usize::try_from(size).unwrap(),
            None => u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize,
        };
        let decoded = |(id, record): (u64, &[u8])| {
            let id = RecordId(id);
            Some(match kind {
                StoreFile::Node => Change::Node(id, Some(Node::decode(record.first_chunk()?)?)),
                StoreFile::Relationship => Change::Relationship(id, Some(Relationship::decode(record.first_chunk()?)?)),
                StoreFile::RelationshipType => {
                    Change::RelationshipType(id, Some(RelationshipType::decode(record.first_chunk()?)?))
                }
                StoreFile::PropertyKey => Change::PropertyKey(id, Some(PropertyKey::decode(record.first_chunk()?)?)),
                StoreFile::Property if self.format == StoreFormat::Legacy => {
                    Change::LegacyProperty(id, Some(LegacyProperty::decode(record.first_chunk()?)?))
                }
                StoreFile::Property => Change::Property(id, Some(Property::decode(record.first_chunk()?)?)),
                file if id.0 > 0 => {
                    let (header, rest) = match self.format {
                        StoreFormat::Legacy => {
                            let (header, rest) = record.split_first_chunk()?;
                            (DynamicHeader::decode_legacy(header)?, rest)
                        }
                        StoreFormat::Current => {
                            let (header, rest) = record.split_first_chunk()?;
                            (DynamicHeader::decode(header)?, rest)
                        }
                    };
                    let data = rest.get(..header.length as usize)?;
                    Change::Dynamic(file, id, Some((header, Vec::leak(data.to_vec()))))
                }
                _ => return None,
            })
        };
        (0..).zip(bytes.chunks_exact(size)).filter_map(decoded).collect()
    }

    /// Checks both ways what these changes leave of the base; `None` where they cannot be applied.
    fn checked(&self, stream: &Stream) -> Option<(CheckReport, CheckReport)> {
        let dir = self.work.path().join("target");
        let _ = fs::remove_dir_all(&dir);
        for (path, bytes) in &self.files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let handle = DirHandle::open(&dir).unwrap();
        let mut written = WrittenRecords::default();
        for change in stream {
            written.note(change);
        }
        let mut written = written.finished();
        written.look_before(&handle, &Cancel::default()).unwrap();
        let kinds = StoreFile::ALL.into_iter().filter(|kind| *kind != StoreFile::Neostore);
        for kind in kinds.clone() {
            unseal(&handle, kind, self.format).unwrap();
        }
        let mut applier = Applier::open(&handle, self.format, Growth::Usual).unwrap();
        for change in stream {
            applier.apply(change).ok()?;
        }
        let mut done = applier.finish().unwrap();
        if let Some(property) = done.graph_property {
            Header::open(&handle).unwrap().set_graph_property(property).unwrap();
        }
        for kind in kinds {
            let touched = done.touched.entry(kind).or_default();
            seal(&handle, kind, self.format, touched).unwrap();
        }
        let of = |what| {
            let options = CheckOptions {
                what,
                threads: 1,
                ..CheckOptions::default()
            };
            check(&dir, &options, &Cancel::default()).unwrap()
        };
        Some((of(What::Part(&written)), of(What::Whole)))
    }

    /// The same stream with one to three things wrong.
    fn damaged(&self, random: &mut StdRng) -> Stream {
        let mut stream = self.stream.clone();
        // few records make it likelier that nothing else shows what is wrong
        let kept = random.random_range(0..=stream.len());
        if random.random_range(0..2) == 0 {
            stream.truncate(kept);
        }
        for _ in 0..random.random_range(1..=3) {
            self.damage(&mut stream, random);
        }
        stream
    }

    fn damage(&self, stream: &mut Stream, random: &mut StdRng) {
        let image = self.images[random.random_range(..self.images.len())];
        let at = random.random_range(..=stream.len());
        match random.random_range(0..8) {
            0 if at < stream.len() => drop(stream.remove(at)),
            1 if at < stream.len() => stream[at] = deletion(&stream[at]),
            2 => stream.push(deletion(&image)),
            // an older or newer image of a record
            3 => stream.insert(at, image),
            4 => stream.push(with_id(&image, self.id(random))),
            5 if at < stream.len() => stream[at] = self.redirected(&stream[at], random),
            6 => self.cycle(stream, random),
            _ => stream.push(self.redirected(&image, random)),
        }
    }

    /// An id that something has, or the one after all of them.
    fn id(&self, random: &mut StdRng) -> RecordId {
        let RecordId(id) = id_of(&self.images[random.random_range(..self.images.len())]);
        RecordId(id + u64::from(random.random_range(0..8) == 0))
    }

    /// A record one of whose pointers leads elsewhere, or whose data are others.
    fn redirected(&self, change: &Change<'static>, random: &mut StdRng) -> Change<'static> {
        let to: Pointer = (random.random_range(0..4) > 0).then(|| self.id(random));
        let which = random.random_range(0..8);
        match *change {
            Change::Node(id, Some(mut node)) => {
                *[&mut node.first_relationship, &mut node.first_property][which % 2] = to;
                Change::Node(id, Some(node))
            }
            Change::Relationship(id, Some(mut relationship)) => {
                let r = &mut relationship;
                match which {
                    0 => r.first_node = to,
                    1 => r.second_node = to,
                    2 => r.first_previous = to,
                    3 => r.first_next = to,
                    4 => r.second_previous = to,
                    5 => r.second_next = to,
                    6 => r.first_property = to,
                    _ => r.type_id = u16::try_from(random.random_range(0..6)).unwrap(),
                }
                Change::Relationship(id, Some(relationship))
            }
            Change::RelationshipType(id, Some(_)) => {
                Change::RelationshipType(id, Some(RelationshipType { name_block: to }))
            }
            Change::PropertyKey(id, Some(key)) => Change::PropertyKey(id, Some(PropertyKey { name_block: to, ..key })),
            Change::Property(id, Some(mut property)) => {
                match which {
                    0..3 => property.previous = to,
                    3..6 => property.next = to,
                    // key, type, or the value and with it a block
                    _ => property.payload[0] ^= 1 << random.random_range(0..64),
                }
                Change::Property(id, Some(property))
            }
            Change::LegacyProperty(id, Some(mut property)) => {
                match which {
                    0..2 => property.previous = to,
                    2..4 => property.next = to,
                    4 => property.key = u32::try_from(random.random_range(0..12)).unwrap(),
                    5 => property.type_code = u16::try_from(random.random_range(0..14)).unwrap(),
                    _ => property.value = to.map_or(0, |id| id.0),
                }
                Change::LegacyProperty(id, Some(property))
            }
            Change::Dynamic(file, id, Some((mut header, data))) => {
                let mut data = data.to_vec();
                match which {
                    0..3 => header.next = to,
                    3 => header.previous = to,
                    4 => data.truncate(random.random_range(0..=data.len())),
                    _ if !data.is_empty() => {
                        let at = random.random_range(..data.len());
                        data[at] ^= random.random_range(1..=255_u8);
                    }
                    _ => {}
                }
                header.length = u32::try_from(data.len()).unwrap();
                Change::Dynamic(file, id, Some((header, Vec::leak(data))))
            }
            Change::GraphProperty(_) => Change::GraphProperty(to),
            deleted => deleted,
        }
    }

    /// Two records that are each other's neighbours, and that nothing leads to.
    fn cycle(&self, stream: &mut Stream, random: &mut StdRng) {
        let image = self.images[random.random_range(..self.images.len())];
        let (a, b) = (RecordId(id_of(&image).0 + 5000), RecordId(id_of(&image).0 + 5001));
        for (id, other) in [(a, b), (b, a)] {
            let other = Some(other);
            stream.push(match image {
                Change::Relationship(_, Some(relationship)) => {
                    let with_cycle = Relationship {
                        first_previous: other,
                        first_next: other,
                        second_previous: other,
                        second_next: other,
                        first_property: None,
                        ..relationship
                    };
                    Change::Relationship(id, Some(with_cycle))
                }
                Change::Property(_, Some(property)) => {
                    let with_cycle = Property {
                        previous: other,
                        next: other,
                        ..property
                    };
                    Change::Property(id, Some(with_cycle))
                }
                Change::LegacyProperty(_, Some(property)) => {
                    let with_cycle = LegacyProperty {
                        previous: other,
                        next: other,
                        ..property
                    };
                    Change::LegacyProperty(id, Some(with_cycle))
                }
                Change::Dynamic(file, _, Some((header, data))) => {
                    let with_cycle = DynamicHeader {
                        previous: other,
                        next: other,
                        ..header
                    };
                    Change::Dynamic(file, id, Some((with_cycle, data)))
                }
                _ => self.redirected(&image, random),
            });
        }
    }
}

/// The changes of the transactions after this one.
fn changes(dir: &Path, format: StoreFormat, after: TxId) -> Stream {
    let layout = Layout {
        format: format.into(),
        source: DataSource::Graph,
    };
    let handle = DirHandle::open(dir).unwrap();
    let mut found = Stream::new();
    for log in archived_logs(&handle, DataSource::Graph).unwrap() {
        let file = handle.open_file(&log.path).unwrap();
        let (mut scan, mut pass) = (Buffer::new(), SecondPass::new(&file, layout));
        let mut slot = SlotReader::open(&file, layout, &mut scan).unwrap();
        while let Some(committed) = slot.next().unwrap() {
            if committed.tx <= after {
                continue;
            }
            let mut transaction = pass.transaction(&committed);
            while let Some(item) = transaction.next().unwrap() {
                if let Item::Change(change) = item {
                    found.push(owned(&change));
                }
            }
        }
    }
    assert!(!found.is_empty());
    found
}

fn owned(change: &Change<'_>) -> Change<'static> {
    match *change {
        Change::Node(id, node) => Change::Node(id, node),
        Change::Relationship(id, relationship) => Change::Relationship(id, relationship),
        Change::RelationshipType(id, found) => Change::RelationshipType(id, found),
        Change::PropertyKey(id, key) => Change::PropertyKey(id, key),
        Change::Property(id, property) => Change::Property(id, property),
        Change::LegacyProperty(id, property) => Change::LegacyProperty(id, property),
        Change::Dynamic(file, id, block) => {
            let block = block.map(|(header, data)| (header, &*Vec::leak(data.to_vec())));
            Change::Dynamic(file, id, block)
        }
        Change::GraphProperty(first) => Change::GraphProperty(first),
    }
}

fn deletion(change: &Change<'static>) -> Change<'static> {
    match *change {
        Change::Node(id, _) => Change::Node(id, None),
        Change::Relationship(id, _) => Change::Relationship(id, None),
        Change::RelationshipType(id, _) => Change::RelationshipType(id, None),
        Change::PropertyKey(id, _) => Change::PropertyKey(id, None),
        Change::Property(id, _) => Change::Property(id, None),
        Change::LegacyProperty(id, _) => Change::LegacyProperty(id, None),
        Change::Dynamic(file, id, _) => Change::Dynamic(file, id, None),
        Change::GraphProperty(_) => Change::GraphProperty(None),
    }
}

fn is_deletion(change: &Change<'static>) -> bool {
    *change == deletion(change)
}

fn id_of(change: &Change<'static>) -> RecordId {
    match *change {
        Change::Node(id, _)
        | Change::Relationship(id, _)
        | Change::RelationshipType(id, _)
        | Change::PropertyKey(id, _)
        | Change::Property(id, _)
        | Change::LegacyProperty(id, _)
        | Change::Dynamic(_, id, _) => id,
        Change::GraphProperty(first) => first.unwrap_or(RecordId(0)),
    }
}

fn with_id(change: &Change<'static>, to: RecordId) -> Change<'static> {
    match *change {
        Change::Node(_, node) => Change::Node(to, node),
        Change::Relationship(_, relationship) => Change::Relationship(to, relationship),
        Change::RelationshipType(_, found) => Change::RelationshipType(to, found),
        Change::PropertyKey(_, key) => Change::PropertyKey(to, key),
        Change::Property(_, property) => Change::Property(to, property),
        Change::LegacyProperty(_, property) => Change::LegacyProperty(to, property),
        Change::Dynamic(file, _, block) => Change::Dynamic(file, to, block),
        Change::GraphProperty(_) => Change::GraphProperty(Some(to)),
    }
}

fn errors(report: &CheckReport) -> u64 {
    report.findings.total(Severity::Error)
}

fn shown(report: &CheckReport) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_transactions_break_is_found_where_it_was_changed_or_in_the_whole_store() {
    let (first, count) = (number("CHANGED_SEED", 1), number("CHANGED_STREAMS", SAMPLE));
    eprintln!("CHANGED_SEED={first} CHANGED_STREAMS={count}");
    let (mut broken, mut refused, mut widened, mut tried) = (0, 0, 0, 0);
    let mut seed = first;
    while tried < count {
        let scene = Scene::new(seed);
        let (part, whole) = scene.checked(&scene.stream).unwrap();
        assert_eq!(shown(&whole), [""; 0], "seed {seed}");
        assert_eq!(shown(&part), [""; 0], "seed {seed}");
        assert!(!part.is_whole, "seed {seed}: the whole store was checked without need");
        for stream in 0..PER_DATABASE.min(count - tried) {
            tried += 1;
            let mut random = StdRng::seed_from_u64(seed << 32 | stream);
            let damaged = scene.damaged(&mut random);
            let Some((part, whole)) = scene.checked(&damaged) else {
                refused += 1;
                continue;
            };
            broken += u64::from(errors(&whole) > 0);
            widened += u64::from(part.is_whole);
            assert_eq!(
                errors(&part) > 0,
                errors(&whole) > 0,
                "seed {seed}, stream {stream}: {damaged:#?}\npart (whole: {}): {:#?}\nwhole: {:#?}",
                part.is_whole,
                shown(&part),
                shown(&whole)
            );
        }
        seed += 1;
    }
    eprintln!("{tried} streams: {broken} broken, {refused} refused, {widened} times the whole store was checked");
    assert!(broken > tried / 4, "{broken} of {tried}");
}
