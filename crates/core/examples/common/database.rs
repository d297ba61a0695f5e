/// A closed database of a few hundred transactions in the folder `database` of a directory that goes away with the result.
pub fn database() -> tempfile::TempDir {
    use neo4j_format::{
        ids::StoreId,
        store::{StoreFormat, header::CURRENT_VERSION},
    };
    use neo4j_sandbox::{
        database::Database,
        generator::{Generator, WorkloadProfile},
    };

    let work = tempfile::tempdir().unwrap();
    let id = StoreId {
        creation_time: 1_350_000_000_000,
        random: 7,
        store_version: Some(CURRENT_VERSION),
    };
    let mut database = Database::create(&work.path().join("database"), StoreFormat::Current, id).unwrap();
    let generator = Generator::new(1, WorkloadProfile::of(StoreFormat::Current));
    for time in 0..200 {
        generator.step(&mut database, id.creation_time + time).unwrap();
    }
    database.close().unwrap();
    work
}
