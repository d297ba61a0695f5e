//! Which columns the CSV files have.
//!
//! A column has one type, but one key may have values of several types in Neo4j 1.x, on different nodes. So nodes, and
//! relationships in the same way, are divided among files: in each file every key has one type. A first pass over the
//! store collects the sets of keys and types that occur; each set goes to the first file that has all its columns, or
//! else to the first one that can take them. The order of the records alone decides, so the same store always makes
//! the same files.

use std::collections::{BTreeMap, HashSet};

use super::reader::ValueType;
use crate::{Error, ErrorKind, error::Setting};

/// A set of keys and their types, in the order of the keys.
pub(super) type Signature = Vec<(u32, ValueType)>;

/// Columns that a file has at most, unless one node alone has more: a row has a comma for each.
const COLUMNS_MAX: usize = 64;

/// Files of nodes, or of relationships, at most.
const FILES_MAX: usize = 1000;

/// Signatures that are remembered.
const REMEMBERED: usize = 1 << 16;

/// The columns of one file: key and type, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pub(super) columns: Vec<(u32, ValueType)>,
    /// Where the column of a key is.
    places: BTreeMap<u32, usize>,
}

impl Layout {
    /// Where the column of this key and type is.
    fn place(&self, key: u32, of: ValueType) -> Option<usize> {
        let place = *self.places.get(&key)?;
        self.columns.get(place).filter(|column| column.1 == of).map(|_| place)
    }

    fn covers(&self, signature: &[(u32, ValueType)]) -> bool {
        signature.iter().all(|(key, of)| self.place(*key, *of).is_some())
    }

    /// Whether the missing columns can be added.
    fn can_take(&self, signature: &[(u32, ValueType)]) -> bool {
        let mut missing = 0;
        for (key, of) in signature {
            match self.places.get(key) {
                None => missing += 1,
                Some(_) if self.place(*key, *of).is_some() => {}
                Some(_) => return false,
            }
        }
        self.columns.is_empty() || self.columns.len() + missing <= COLUMNS_MAX
    }

    fn add(&mut self, signature: &[(u32, ValueType)]) {
        for (key, of) in signature {
            if !self.places.contains_key(key) {
                self.places.insert(*key, self.columns.len());
                self.columns.push((*key, *of));
            }
        }
    }
}

/// The files of nodes, or of relationships.
#[derive(Debug, Default)]
pub(super) struct Layouts {
    all: Vec<Layout>,
    known: HashSet<Signature>,
}

impl Layouts {
    /// Makes room for a signature.
    ///
    /// # Errors
    /// There are too many combinations of types.
    pub(super) fn add(&mut self, signature: Signature) -> Result<(), Error> {
        if self.known.contains(&signature) {
            return Ok(());
        }
        if !self.all.iter().any(|layout| layout.covers(&signature)) {
            let place = match self.all.iter().position(|layout| layout.can_take(&signature)) {
                Some(place) => place,
                None if self.all.len() < FILES_MAX => {
                    self.all.push(Layout::default());
                    self.all.len() - 1
                }
                None => {
                    let text = format!("the keys have values of different types in more than {FILES_MAX} combinations");
                    return Err(Error::new(ErrorKind::Failed, text)
                        .with_hint("the format jsonl takes any combination of types")
                        .see(&[Setting::ExportFormat]));
                }
            };
            if let Some(layout) = self.all.get_mut(place) {
                layout.add(&signature);
            }
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        self.known.insert(signature);
        Ok(())
    }

    /// The file for a signature that was added.
    pub(super) fn find(&self, signature: &[(u32, ValueType)]) -> Option<usize> {
        self.all.iter().position(|layout| layout.covers(signature))
    }

    /// All files.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Layout> {
        self.all.iter()
    }

    /// One of them.
    pub(super) fn get(&self, file: usize) -> Option<&Layout> {
        self.all.get(file)
    }
}

/// Signatures that a thread has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    last: Option<Signature>,
    all: HashSet<Signature>,
}

impl Seen {
    /// Whether a signature is new; some that are not may count as new again.
    pub(super) fn is_new(&mut self, signature: &Signature) -> bool {
        if self.last.as_ref() == Some(signature) {
            return false;
        }
        self.last = Some(signature.clone());
        if self.all.contains(signature) {
            return false;
        }
        if self.all.len() >= REMEMBERED {
            self.all.clear();
        }
        self.all.insert(signature.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neo4j_format::store::value::Kind;

    const INT: ValueType = ValueType::Scalar(Kind::Int);
    const LONG: ValueType = ValueType::Scalar(Kind::Long);

    fn layouts(signatures: &[&[(u32, ValueType)]]) -> Layouts {
        let mut layouts = Layouts::default();
        for signature in signatures {
            layouts.add(signature.to_vec()).unwrap();
        }
        for signature in signatures {
            assert!(layouts.find(signature).is_some(), "{signature:?}");
        }
        layouts
    }

    #[test]
    fn keys_of_one_type_share_a_file_and_those_of_two_types_do_not() {
        let found = layouts(&[&[(1, INT)], &[], &[(2, LONG)], &[(1, LONG), (2, LONG)], &[(3, INT)]]);
        let columns: Vec<_> = found.iter().map(|layout| layout.columns.clone()).collect();
        assert_eq!(
            columns,
            [vec![(1, INT), (2, LONG), (3, INT)], vec![(1, LONG), (2, LONG)]]
        );
        assert_eq!(found.find(&[(1, LONG)]), Some(1));
        assert_eq!(found.find(&[(2, LONG)]), Some(0));
        assert_eq!(found.find(&[(4, LONG)]), None);
    }

    #[test]
    fn a_file_does_not_get_wider_than_its_limit_unless_one_node_needs_it() {
        let wide: Signature = (0..100).map(|key| (key, INT)).collect();
        let other: Signature = (100..160).map(|key| (key, INT)).collect();
        let found = layouts(&[&wide, &other, &[(200, INT)]]);
        let widths: Vec<_> = found.iter().map(|layout| layout.columns.len()).collect();
        assert_eq!(widths, [100, 61]);
    }

    #[test]
    fn too_many_combinations_are_an_error() {
        let mut layouts = Layouts::default();
        let types = [INT, LONG];
        // every two of these differ in a key that both have
        let signature = |n: u32| {
            (0..10)
                .map(|bit| (bit, types[usize::from(n >> bit & 1 == 1)]))
                .collect()
        };
        for n in 0..1000 {
            layouts.add(signature(n)).unwrap();
        }
        assert_eq!(layouts.add(signature(1000)).unwrap_err().kind(), ErrorKind::Failed);
    }
}
