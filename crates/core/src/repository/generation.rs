//! A generation: one snapshot of one backup, and what its tags say.
//!
//! ```text
//! store=<id>  nioneodb=<last>  lucene-index=<last>  committed=<milliseconds>  logs=<first>-<last>
//! mode=<full|incremental>  check=<verdict>  run=<run id>  verified=<milliseconds>
//! ```

use jiff::Timestamp;
use serde::Serialize;

use crate::outcome::Verdict;
use neo4j_format::ids::DataSource;

/// What a snapshot says of the backup in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// The snapshot, as restic names it.
    pub id: String,
    /// The source of the backup.
    pub source: String,
    /// Which database.
    pub store_id: String,
    /// Milliseconds since 1970 at which the backup was complete.
    pub time: i64,
    /// How its last run got its data.
    pub mode: String,
    /// Last transaction of the graph.
    pub last: i64,
    /// Last transaction of the indexes, if there are any.
    pub last_index: Option<i64>,
    /// Milliseconds since 1970 at which the last transaction of the graph was committed, if a log says.
    pub committed: Option<i64>,
    /// First and last transaction of the graph in its archived logs.
    pub logs: Option<(i64, i64)>,
    /// What the check said.
    pub verdict: Verdict,
    /// The run that made it.
    pub run_id: String,
    /// Bytes of the backup.
    pub bytes: u64,
    /// Bytes that it added to the repository.
    pub added_bytes: u64,
    /// Milliseconds since 1970 at which a drill last restored it.
    pub verified: Option<i64>,
}

impl Generation {
    /// Whether its check was good.
    pub fn is_good(&self) -> bool {
        self.verdict == Verdict::Good
    }

    /// The tags, but for `verified`.
    pub(super) fn tags(&self) -> Vec<String> {
        let mut tags = vec![
            format!("store={}", self.store_id),
            format!("{}={}", DataSource::Graph, self.last),
            format!("mode={}", self.mode),
            format!("check={}", self.verdict.name()),
            format!("run={}", self.run_id),
        ];
        tags.extend(self.last_index.map(|last| format!("{}={last}", DataSource::Lucene)));
        tags.extend(self.committed.map(|time| format!("committed={time}")));
        tags.extend(self.logs.map(|(first, last)| format!("logs={first}-{last}")));
        tags
    }

    /// Fills in what the tags say; `None` if they are not those of a backup.
    pub(super) fn tagged<'a>(self, tags: impl Iterator<Item = &'a str>) -> Option<Generation> {
        let mut found = self;
        let (mut has_store, mut has_last) = (false, false);
        for (name, value) in tags.filter_map(|tag| tag.split_once('=')) {
            match name {
                "store" => {
                    value.clone_into(&mut found.store_id);
                    has_store = true;
                }
                "mode" => value.clone_into(&mut found.mode),
                "run" => value.clone_into(&mut found.run_id),
                "check" => found.verdict = Verdict::from_name(value)?,
                "committed" => found.committed = value.parse().ok(),
                "verified" => found.verified = found.verified.max(value.parse().ok()),
                "logs" => {
                    let (first, last) = value.split_once('-')?;
                    found.logs = Some((first.parse().ok()?, last.parse().ok()?));
                }
                _ if name == DataSource::Graph.name() => {
                    found.last = value.parse().ok()?;
                    has_last = true;
                }
                _ if name == DataSource::Lucene.name() => found.last_index = value.parse().ok(),
                // of a newer version
                _ => {}
            }
        }
        (has_store && has_last).then_some(found)
    }

    /// One of which nothing is known.
    pub(super) fn unknown(id: String, source: String, time: Timestamp) -> Generation {
        Generation {
            id,
            source,
            store_id: String::new(),
            time: time.as_millisecond(),
            mode: String::new(),
            last: 0,
            last_index: None,
            committed: None,
            logs: None,
            verdict: Verdict::NotChecked,
            run_id: String::new(),
            bytes: 0,
            added_bytes: 0,
            verified: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn sample() -> Generation {
        Generation {
            store_id: "1a211f3e7ae-5574c58c5e698317".to_owned(),
            mode: "full".to_owned(),
            last: 5,
            run_id: "7".to_owned(),
            verdict: Verdict::Good,
            ..Generation::unknown("0123".to_owned(), "single://h".to_owned(), Timestamp::UNIX_EPOCH)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_all_that_there_is_to_know() {
        let full = Generation {
            last_index: Some(6),
            committed: Some(1_349_857_200_123),
            logs: Some((2, 5)),
            ..Generation::sample()
        };
        for generation in [full, Generation::sample()] {
            let tags = generation.tags();
            assert!(tags.iter().all(|tag| !tag.contains(',')), "{tags:?}");
            let blank = Generation::unknown("0123".to_owned(), "single://h".to_owned(), Timestamp::UNIX_EPOCH);
            assert_eq!(blank.tagged(tags.iter().map(String::as_str)), Some(generation));
        }
    }

    #[test]
    fn snapshots_of_something_else_are_not_generations() {
        let tagged = |tags: &[&str]| Generation::sample().tagged(tags.iter().copied());
        assert_eq!(tagged(&[]), None);
        assert_eq!(tagged(&["daily", "store=1-2"]), None);
        assert_eq!(tagged(&["store=1-2", "nioneodb=many"]), None);
        assert!(
            tagged(&["store=1-2", "nioneodb=7", "check=good", "verified=3", "verified=9"])
                .is_some_and(|found| { found.verified == Some(9) })
        );
    }
}
