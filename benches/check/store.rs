//! Writes a store of format v0.A.0: `store DIR RELATIONSHIPS [N]`. A quarter as many nodes, each the start of four
//! relationships to nodes all over the store; a property record for each relationship. With `N`, the value of every N-th
//! property is another one. Standard library alone, so that
//! `rustc -O` builds it.

use std::{
    env, fs,
    io::{self, BufWriter, Write},
    path::Path,
};

const NONE: u32 = u32::MAX;

fn main() -> io::Result<()> {
    let words: Vec<String> = env::args().collect();
    let dir = Path::new(&words[1]);
    let count: u32 = words[2].parse().expect("a number of relationships");
    let other = words.get(3).map(|every| every.parse::<u32>().expect("a number of properties"));
    let nodes = count / 4;
    fs::create_dir_all(dir)?;

    let mut first = vec![NONE; nodes as usize];
    // first node, second node, first previous, first next, second previous, second next
    let mut relationships: Vec<[u32; 6]> = Vec::with_capacity(count as usize);
    let mut random = 88_172_645_463_325_252_u64;
    for id in 0..count {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let start = (id / 4).min(nodes - 1);
        let mut end = (random % u64::from(nodes)) as u32;
        if end == start {
            end = (end + 1) % nodes;
        }
        let next = [start, end].map(|node| first[node as usize]);
        for (node, next) in [start, end].into_iter().zip(next) {
            if next != NONE {
                let behind = &mut relationships[next as usize];
                let previous = if behind[0] == node { 2 } else { 4 };
                behind[previous] = id;
            }
            first[node as usize] = id;
        }
        relationships.push([start, end, NONE, next[0], NONE, next[1]]);
    }

    let mut out = create(dir, "neostore.relationshipstore.db")?;
    for (id, [start, end, first_previous, first_next, second_previous, second_next]) in (0_u32..).zip(&relationships) {
        let words = [*start, *end, 0, *first_previous, *first_next, *second_previous, *second_next, id];
        out.write_all(&[1])?;
        for word in words {
            out.write_all(&word.to_be_bytes())?;
        }
    }
    close(dir, out, "neostore.relationshipstore.db", "RelationshipStore", count)?;

    let mut out = create(dir, "neostore.nodestore.db")?;
    for first in &first {
        out.write_all(&[1])?;
        out.write_all(&first.to_be_bytes())?;
        out.write_all(&NONE.to_be_bytes())?;
    }
    close(dir, out, "neostore.nodestore.db", "NodeStore", nodes)?;

    let mut out = create(dir, "neostore.propertystore.db")?;
    for id in 0..count {
        out.write_all(&[0; 1])?;
        out.write_all(&[0xFF; 8])?;
        // a short under key 0
        let value = u64::from(id) ^ u64::from(other.is_some_and(|every| id % every == 0));
        out.write_all(&(value << 28 | 3 << 24).to_be_bytes())?;
        out.write_all(&[0; 24])?;
    }
    close(dir, out, "neostore.propertystore.db", "PropertyStore", count)?;

    let mut out = create(dir, "neostore.relationshiptypestore.db")?;
    out.write_all(&[1, 0, 0, 0, 1])?;
    close(dir, out, "neostore.relationshiptypestore.db", "RelationshipTypeStore", 1)?;
    let mut out = create(dir, "neostore.propertystore.db.index")?;
    out.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 1])?;
    close(dir, out, "neostore.propertystore.db.index", "PropertyIndexStore", 1)?;
    for (name, descriptor, size, blocks) in [
        ("neostore.relationshiptypestore.db.names", "StringPropertyStore", 38_u32, 2),
        ("neostore.propertystore.db.index.keys", "StringPropertyStore", 38, 2),
        ("neostore.propertystore.db.strings", "StringPropertyStore", 128, 1),
        ("neostore.propertystore.db.arrays", "ArrayPropertyStore", 128, 1),
    ] {
        let mut out = create(dir, name)?;
        let mut bytes = vec![0; (size * blocks) as usize];
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        if blocks == 2 {
            bytes[size as usize..][..9].copy_from_slice(&[0x10, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF, b'x']);
        }
        out.write_all(&bytes)?;
        close(dir, out, name, descriptor, blocks)?;
    }
    let mut out = create(dir, "neostore")?;
    for value in [1_350_000_000_000_i64, 1, 0, 1, 0x0030_2E41_2E30_7606, -1] {
        out.write_all(&[1])?;
        out.write_all(&value.to_be_bytes())?;
    }
    close(dir, out, "neostore", "NeoStore", 6)
}

fn create(dir: &Path, name: &str) -> io::Result<BufWriter<fs::File>> {
    Ok(BufWriter::with_capacity(1 << 20, fs::File::create(dir.join(name))?))
}

/// Type and version behind the records, and the id file.
fn close(dir: &Path, mut out: BufWriter<fs::File>, name: &str, descriptor: &str, high_id: u32) -> io::Result<()> {
    write!(out, "{descriptor} v0.A.0")?;
    out.flush()?;
    let mut id_file = vec![0];
    id_file.extend(u64::from(high_id).to_be_bytes());
    fs::write(dir.join(format!("{name}.id")), id_file)
}
