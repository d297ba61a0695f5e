//! One export from beginning to end.

use std::{path::Path, thread};

use super::{
    DamagedRecords, Export, ExportOutcome, ExportVerdict, Format, Labels, Loss, LossKind, Losses, Origin,
    chunk::{Chunk, Counts},
    csv::{self, Csv},
    cypher::{self, Cypher},
    encoder::{Encoder, key_name},
    files::{Staging, gzip},
    import,
    jsonl::{self, Jsonl},
    layout::{Layouts, Seen, Signature},
    ordered::ordered,
    reader::{self, Damage, EdgeReader, Entity, Graph, PropertyReader, Stored},
};
use crate::{
    Error, ErrorKind, Restore,
    cancel::Cancel,
    error::Setting,
    inspect::inspect,
    progress::{Phase, Progress},
};
use neo4j_format::store::{StoreFile, record::Pointer, value::Value};

/// More threads wait for the one that writes.
const THREADS_MAX: usize = 4;

/// Threads that read a store.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)
}

/// Runs an export.
pub(super) fn run(export: &Export, progress: &dyn Progress, cancel: &Cancel) -> Result<ExportOutcome, Error> {
    if let Labels::Name(name) = &export.labels
        && (name.is_empty() || name.contains(csv::DELIMITER))
    {
        return Err(Error::new(ErrorKind::Usage, format!("invalid label {name:?}")));
    }
    match &export.from {
        Origin::Directory(dir) => {
            let graph = Graph::open(dir)?;
            let staging = Staging::create(&export.out, progress)?;
            run_on(export, dir, &graph, staging, progress, cancel)
        }
        Origin::Repository { repository, snapshot } => {
            let staging = Staging::create(&export.out, progress)?;
            let dir = staging.database();
            Restore::from_repository(repository.clone(), snapshot.clone(), &dir).run(progress, cancel)?;
            run_on(export, &dir, &Graph::open(&dir)?, staging, progress, cancel)
        }
    }
}

/// Exports the graph in `dir` into `staging`, and publishes it.
fn run_on(
    export: &Export,
    dir: &Path,
    graph: &Graph,
    staging: Staging,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<ExportOutcome, Error> {
    let indexes = inspect(dir)?.indexes;
    let mut run = Run {
        export,
        graph,
        progress,
        cancel,
        label_key: match &export.labels {
            Labels::Key(name) => Some(graph.keys.id_of(name).unwrap_or(u32::MAX)),
            _ => None,
        },
        output: Output {
            staging,
            is_wanted: true,
            reports: [None, None],
        },
        losses: Losses::default(),
        damage: DamagedRecords::default(),
        counts: Counts::default(),
    };
    for damage in &graph.damage {
        run.damaged(damage.clone())?;
    }
    match export.format {
        Format::Neo4jAdmin => run.csv(&import::indexes(&indexes, &export.labels))?,
        Format::Jsonl => run.jsonl()?,
        Format::Cypher => run.cypher()?,
    }
    graph.check_unchanged()?;
    let is_held = run.losses.total == 0 || export.is_lossy;
    let (target, files) = if is_held {
        progress.phase(Phase::Publishing);
        let files = run.output.staging.publish()?;
        (Some(export.out.clone()), files)
    } else {
        (None, Vec::new())
    };
    Ok(ExportOutcome {
        verdict: match (is_held, run.damage.total) {
            (false, _) => ExportVerdict::NotHeld,
            (true, 0) => ExportVerdict::Complete,
            (true, _) => ExportVerdict::Damaged,
        },
        format: export.format,
        target,
        files,
        store_format: graph.stores.format.version(),
        last_transaction: graph.last_transaction().0,
        nodes: run.counts.nodes,
        relationships: run.counts.relationships,
        properties: run.counts.properties,
        unlabelled: run.counts.unlabelled,
        losses: run.losses,
        damage: run.damage,
        indexes,
    })
}

struct Run<'a> {
    export: &'a Export,
    graph: &'a Graph,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
    /// The key that labels are taken from.
    label_key: Option<u32>,
    output: Output,
    losses: Losses,
    damage: DamagedRecords,
    counts: Counts,
}

/// The files, and whether anything is still written to them.
struct Output {
    staging: Staging,
    /// Not once it is known that nothing will be published.
    is_wanted: bool,
    /// Numbers of the files of losses and damaged records.
    reports: [Option<usize>; 2],
}

/// State of one thread.
struct Worker<'a> {
    properties: PropertyReader<'a>,
    edges: EdgeReader<'a>,
    chunk: Chunk,
    stored: Vec<Stored>,
    values: Vec<(u32, Value)>,
    seen: Seen,
}

impl<'a> Worker<'a> {
    fn new(graph: &'a Graph) -> Worker<'a> {
        Worker {
            properties: PropertyReader::new(graph),
            edges: EdgeReader::new(graph),
            chunk: Chunk::default(),
            stored: Vec::new(),
            values: Vec::new(),
            seen: Seen::default(),
        }
    }

    /// Reads the properties of an entity into `values`, in the order of their keys.
    fn read(&mut self, entity: Entity, first: Pointer) -> Result<(), Error> {
        let damage = &mut self.chunk.damage;
        self.properties.values(entity, first, &mut self.values, damage)
    }

    /// The columns that the properties of an entity need; damage is the second pass's.
    fn signature(&mut self, graph: &Graph, entity: Entity, first: Pointer) -> Result<Signature, Error> {
        let mut damage = Vec::<Damage>::new();
        self.properties.stored(entity, first, &mut self.stored, &mut damage)?;
        self.stored.sort_unstable_by_key(|property| property.key);
        let mut signature = Signature::new();
        for property in &self.stored {
            let name = graph.keys.get(property.key.into());
            if !name.is_some_and(|name| name.fits_header) {
                continue;
            }
            if let Some(of) = self.properties.type_of(property)? {
                signature.push((property.key, csv::column_type(of)));
            }
        }
        Ok(signature)
    }
}

impl Run<'_> {
    fn csv(&mut self, indexes: &str) -> Result<(), Error> {
        self.progress.phase(Phase::Reading);
        let has_labels = self.export.labels != Labels::None;
        let mut nodes = self.layouts(StoreFile::Node)?;
        // a graph without nodes has a file too
        nodes.add(Signature::new())?;
        let relationships = self.layouts(StoreFile::Relationship)?;
        let add =
            |run: &mut Self, kind: &str, layouts: &Layouts, header: &dyn Fn(&super::layout::Layout) -> Vec<u8>| {
                let mut names = Vec::new();
                let mut first = None;
                for (place, layout) in layouts.iter().enumerate() {
                    let number = if place == 0 {
                        String::new()
                    } else {
                        format!("-{}", place + 1)
                    };
                    let name = run.name(&format!("{kind}{number}.csv"));
                    let file = run.output.staging.add(&name, &run.compressed(header(layout)))?;
                    first.get_or_insert(file);
                    names.push(name);
                }
                Ok::<_, Error>((first.unwrap_or_default(), names))
            };
        let graph = self.graph;
        let (first_node_file, node_names) = add(self, "nodes", &nodes, &|layout| {
            csv::node_header(graph, layout, has_labels)
        })?;
        let (first_relationship_file, relationship_names) = add(self, "relationships", &relationships, &|layout| {
            csv::relationship_header(graph, layout)
        })?;
        let encoder = Csv {
            graph,
            has_labels,
            nodes,
            relationships,
            first_node_file,
            first_relationship_file,
        };
        self.entities(&encoder)?;
        self.lose_graph_properties()?;
        let script = import::script(&node_names, &relationship_names, self.counts.longest);
        let script = self.output.staging.add("import.sh", script.as_bytes())?;
        self.output.staging.make_executable(script)?;
        self.output.staging.add("indexes.cypher", indexes.as_bytes())?;
        Ok(())
    }

    fn jsonl(&mut self) -> Result<(), Error> {
        let (nodes, relationships) = (self.name("nodes.jsonl"), self.name("relationships.jsonl"));
        let encoder = Jsonl {
            graph: self.graph,
            node_file: self.output.staging.add(nodes, &[])?,
            relationship_file: self.output.staging.add(relationships, &[])?,
        };
        self.entities(&encoder)?;
        let properties = self.graph_properties()?;
        self.counts.properties += properties.len() as u64;
        let line = self.compressed(jsonl::graph_line(self.graph, &properties).into_bytes());
        let name = self.name("graph.jsonl");
        self.output.staging.add(name, &line)?;
        Ok(())
    }

    fn cypher(&mut self) -> Result<(), Error> {
        let (name, begin) = (
            self.name("graph.cypher"),
            self.compressed(cypher::BEGIN.as_bytes().to_vec()),
        );
        let file = self.output.staging.add(name, &begin)?;
        let encoder = Cypher {
            graph: self.graph,
            file,
        };
        self.entities(&encoder)?;
        self.lose_graph_properties()?;
        let end = self.compressed(cypher::END.as_bytes().to_vec());
        self.output.staging.append(file, &end)
    }

    /// The columns of all nodes or relationships.
    fn layouts(&self, kind: StoreFile) -> Result<Layouts, Error> {
        let (graph, mut layouts) = (self.graph, Layouts::default());
        ordered(
            graph.stores.get(kind),
            &mut workers(graph, self.export.threads),
            self.cancel,
            |worker, block, send| {
                let mut found = Vec::new();
                for (id, bytes) in block.iter() {
                    let of = match kind {
                        StoreFile::Node => reader::node(bytes).map(|node| (Entity::Node(id), node.first_property)),
                        _ => {
                            reader::relationship(bytes).map(|record| (Entity::Relationship(id), record.first_property))
                        }
                    };
                    if let Some((entity, first)) = of {
                        let signature = worker.signature(graph, entity, first)?;
                        if worker.seen.is_new(&signature) {
                            found.push(signature);
                        }
                    }
                }
                send((found, block.bytes()))
            },
            |(signatures, bytes)| {
                self.progress.bytes(bytes);
                signatures.into_iter().try_for_each(|signature| layouts.add(signature))
            },
        )?;
        Ok(layouts)
    }

    /// Writes all nodes, then all relationships.
    fn entities(&mut self, encoder: &dyn Encoder) -> Result<(), Error> {
        self.progress.phase(Phase::Exporting);
        let (graph, is_compressed, label_key) = (self.graph, self.export.is_compressed, self.label_key);
        let fixed: Vec<&str> = match &self.export.labels {
            Labels::Name(name) => vec![name],
            _ => Vec::new(),
        };
        for kind in [StoreFile::Node, StoreFile::Relationship] {
            self.progress.file(kind.name());
            ordered(
                graph.stores.get(kind),
                &mut workers(graph, self.export.threads),
                self.cancel,
                |worker, block, send| {
                    for (id, bytes) in block.iter() {
                        if kind == StoreFile::Node {
                            let Some(node) = reader::node(bytes) else { continue };
                            graph.note_node(id);
                            worker.read(Entity::Node(id), node.first_property)?;
                            let labels = match label_key {
                                Some(key) => labels(&mut worker.chunk, id, key, &worker.values),
                                None => fixed.clone(),
                            };
                            encoder.node(&mut worker.chunk, id, &labels, &worker.values);
                            worker.chunk.counts.nodes += 1;
                        } else {
                            let Some(record) = reader::relationship(bytes) else {
                                continue;
                            };
                            let Some(edge) = worker.edges.edge(id, &record, &mut worker.chunk.damage)? else {
                                continue;
                            };
                            worker.read(Entity::Relationship(id), edge.first_property)?;
                            encoder.relationship(&mut worker.chunk, id, &edge, &worker.values);
                            worker.chunk.counts.relationships += 1;
                        }
                        if worker.chunk.is_full() {
                            send(worker.chunk.take(is_compressed))?;
                        }
                    }
                    worker.chunk.read = block.bytes();
                    send(worker.chunk.take(is_compressed))
                },
                |chunk| self.write(chunk),
            )?;
        }
        Ok(())
    }

    /// The properties of the graph itself.
    fn graph_properties(&mut self) -> Result<Vec<(u32, Value)>, Error> {
        let mut worker = Worker::new(self.graph);
        worker.read(Entity::Graph, self.graph.stores.graph_property)?;
        for damage in worker.chunk.damage {
            self.damaged(damage)?;
        }
        Ok(worker.values)
    }

    fn write(&mut self, mut chunk: Chunk) -> Result<(), Error> {
        self.progress.bytes(chunk.read);
        self.counts.add(chunk.counts);
        for loss in std::mem::take(&mut chunk.losses) {
            self.lost(loss)?;
        }
        for damage in std::mem::take(&mut chunk.damage) {
            self.damaged(damage)?;
        }
        if self.output.is_wanted {
            for (file, bytes) in chunk.into_files() {
                self.output.staging.append(file, &bytes)?;
            }
        }
        Ok(())
    }

    /// Formats that have no place for the properties of the graph itself lose them.
    fn lose_graph_properties(&mut self) -> Result<(), Error> {
        for (key, _) in self.graph_properties()? {
            self.lost(Loss {
                kind: LossKind::GraphProperty,
                entity: Entity::Graph,
                key: Some(key_name(self.graph, key).to_owned()),
            })?;
        }
        Ok(())
    }

    fn lost(&mut self, loss: Loss) -> Result<(), Error> {
        if self.export.is_lossy {
            self.output.report(0, "losses.jsonl", &loss)?;
        } else {
            self.output.is_wanted = false;
        }
        self.losses.add(loss);
        Ok(())
    }

    fn damaged(&mut self, damage: Damage) -> Result<(), Error> {
        if self.export.is_strict {
            return Err(Error::new(ErrorKind::Unexportable, damage.to_string())
                .with_hint("check lists all inconsistencies; damaged records can be left out")
                .see(&[Setting::Strict]));
        }
        self.output.report(1, "damage.jsonl", &damage)?;
        self.damage.add(damage);
        Ok(())
    }

    fn name(&self, name: &str) -> String {
        let end = if self.export.is_compressed { ".gz" } else { "" };
        format!("{name}{end}")
    }

    fn compressed(&self, bytes: Vec<u8>) -> Vec<u8> {
        if self.export.is_compressed { gzip(&bytes) } else { bytes }
    }
}

impl Output {
    /// Appends a line to a file of reports, which is made when it is needed.
    fn report(&mut self, place: usize, name: &str, one: &impl serde::Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(one).map_err(|cause| Error::new(ErrorKind::Failed, cause))?;
        line.push(b'\n');
        let Some(file) = self.reports.get_mut(place) else {
            return Ok(());
        };
        if let Some(file) = *file {
            return self.staging.append(file, &line);
        }
        *file = Some(self.staging.add(name, &line)?);
        Ok(())
    }
}

fn workers(graph: &Graph, count: usize) -> Vec<Worker<'_>> {
    (0..count).map(|_| Worker::new(graph)).collect()
}

/// The labels in the value of `key`.
fn labels<'a>(chunk: &mut Chunk, id: u64, key: u32, values: &'a [(u32, Value)]) -> Vec<&'a str> {
    let place = values.binary_search_by_key(&key, |(key, _)| *key).ok();
    let found: Vec<&str> = match place.and_then(|place| values.get(place)) {
        None => Vec::new(),
        Some((_, Value::Text(text))) if !text.is_empty() => vec![text],
        Some((_, Value::Texts(texts))) if texts.iter().all(|text| !text.is_empty()) => {
            texts.iter().map(String::as_str).collect()
        }
        Some(_) => {
            chunk.lose(LossKind::Label, Entity::Node(id), None);
            Vec::new()
        }
    };
    if found.is_empty() {
        chunk.counts.unlabelled += 1;
    }
    found
}
