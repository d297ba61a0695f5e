//! What can be typed while a sandbox runs: one word says what happens, the others to whom and how much.

use super::{Cluster, ClusterError, coordinator::Condition};
use neo4j_format::ids::MemberId;

/// What the prompt understands, for people.
pub const HELP: &str = "\
status                       every member and coordinator
kill N                       member N ends as by kill -9: connections are cut, its registration lingers
stop N                       member N shuts down cleanly
restart N                    member N starts again, on its old database
stall N                      member N hangs: connections stay open, nothing moves
slow N BYTES                 the backup service of member N sends so many bytes a second
resume N                     member N goes on, and at full speed
lag N COUNT                  member N stays COUNT transactions behind the master
rate COUNT                   the master commits COUNT transactions a second
coordinator N serve          coordinator N serves
coordinator N silent         ... takes connections and never answers
coordinator N no-quorum      ... is up but without quorum
coordinator N down           ... is gone
quit                         ends the sandbox
";

/// A line that was understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptCommand {
    /// Shows everything.
    Status,
    /// Shows [`HELP`].
    Help,
    /// Ends the sandbox.
    Quit,
    /// An empty line.
    Nothing,
    /// [`Cluster::kill`]
    Kill(MemberId),
    /// [`Cluster::stop`]
    Stop(MemberId),
    /// [`Cluster::restart`]
    Restart(MemberId),
    /// [`Cluster::stall`]
    Stall(MemberId),
    /// [`Cluster::resume`]
    Resume(MemberId),
    /// [`Cluster::slow`]
    Slow(MemberId, u64),
    /// [`Cluster::lag`]
    Lag(MemberId, u64),
    /// [`Cluster::set_rate`]
    Rate(u32),
    /// [`Cluster::set_coordinator`]
    Coordinator(usize, Condition),
}

/// A line that was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PromptError {
    /// An unknown word at its beginning.
    #[error("{0:?} is not known; help lists what is")]
    Word(String),
    /// An argument is missing, or is not a number.
    #[error("{word}: {expected} is expected")]
    Argument {
        /// The word.
        word: &'static str,
        /// What should follow.
        expected: &'static str,
    },
    /// There is more than belongs to it.
    #[error("{0:?} is too much")]
    Rest(String),
}

impl PromptCommand {
    /// Reads a line.
    ///
    /// # Errors
    /// [`PromptError`].
    pub fn parse(line: &str) -> Result<PromptCommand, PromptError> {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else {
            return Ok(PromptCommand::Nothing);
        };
        let order = match first {
            "status" => PromptCommand::Status,
            "help" | "?" => PromptCommand::Help,
            "quit" | "exit" => PromptCommand::Quit,
            "kill" => PromptCommand::Kill(member("kill", &mut words)?),
            "stop" => PromptCommand::Stop(member("stop", &mut words)?),
            "restart" => PromptCommand::Restart(member("restart", &mut words)?),
            "stall" => PromptCommand::Stall(member("stall", &mut words)?),
            "resume" => PromptCommand::Resume(member("resume", &mut words)?),
            "slow" => PromptCommand::Slow(
                member("slow", &mut words)?,
                number("slow", "a number of bytes", &mut words)?,
            ),
            "lag" => PromptCommand::Lag(
                member("lag", &mut words)?,
                number("lag", "a number of transactions", &mut words)?,
            ),
            "rate" => PromptCommand::Rate(number("rate", "a number of transactions", &mut words)?),
            "coordinator" => {
                let coordinator = number("coordinator", "the number of a coordinator", &mut words)?;
                PromptCommand::Coordinator(coordinator, condition(&mut words)?)
            }
            other => return Err(PromptError::Word(other.to_owned())),
        };
        match words.next() {
            None => Ok(order),
            Some(more) => Err(PromptError::Rest(more.to_owned())),
        }
    }
}

impl Cluster {
    /// Does what an order says; those about the prompt itself do nothing here.
    ///
    /// # Errors
    /// As the method that the order stands for.
    pub async fn carry_out(&mut self, order: PromptCommand) -> Result<(), ClusterError> {
        match order {
            PromptCommand::Status | PromptCommand::Help | PromptCommand::Quit | PromptCommand::Nothing => Ok(()),
            PromptCommand::Kill(id) => self.kill(id).await,
            PromptCommand::Stop(id) => self.stop(id).await,
            PromptCommand::Restart(id) => self.restart(id).await,
            PromptCommand::Stall(id) => self.stall(id),
            PromptCommand::Resume(id) => self.resume(id),
            PromptCommand::Slow(id, bytes) => self.slow(id, bytes),
            PromptCommand::Lag(id, transactions) => self.lag(id, transactions),
            PromptCommand::Rate(rate) => {
                self.set_rate(rate);
                Ok(())
            }
            PromptCommand::Coordinator(number, condition) => self.set_coordinator(number, condition).await,
        }
    }
}

fn member<'a>(word: &'static str, words: &mut impl Iterator<Item = &'a str>) -> Result<MemberId, PromptError> {
    number(word, "the number of a member", words).map(MemberId)
}

fn number<'a, N: std::str::FromStr>(
    word: &'static str,
    expected: &'static str,
    words: &mut impl Iterator<Item = &'a str>,
) -> Result<N, PromptError> {
    let number = words.next().and_then(|word| word.parse().ok());
    number.ok_or(PromptError::Argument { word, expected })
}

fn condition<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<Condition, PromptError> {
    match words.next() {
        Some("serve") => Ok(Condition::Serving),
        Some("silent") => Ok(Condition::Silent),
        Some("no-quorum") => Ok(Condition::WithoutQuorum),
        Some("down") => Ok(Condition::Down),
        _ => Err(PromptError::Argument {
            word: "coordinator",
            expected: "serve, silent, no-quorum or down",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_help_is_understood() {
        for line in HELP.lines() {
            let typed: Vec<&str> = line.split("  ").next().unwrap_or_default().split(' ').collect();
            let typed = typed
                .join(" ")
                .replace(" N", " 2")
                .replace("BYTES", "100")
                .replace("COUNT", "7");
            assert!(PromptCommand::parse(&typed).is_ok(), "{typed}");
        }
        assert_eq!(
            PromptCommand::parse(" slow 2 100 "),
            Ok(PromptCommand::Slow(MemberId(2), 100))
        );
        assert_eq!(PromptCommand::parse(""), Ok(PromptCommand::Nothing));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        for (line, text) in [
            ("kil 1", "\"kil\" is not known; help lists what is"),
            ("kill", "kill: the number of a member is expected"),
            ("lag 1 x", "lag: a number of transactions is expected"),
            ("stop 1 2", "\"2\" is too much"),
            (
                "coordinator 1 up",
                "coordinator: serve, silent, no-quorum or down is expected",
            ),
        ] {
            assert_eq!(PromptCommand::parse(line).unwrap_err().to_string(), text);
        }
    }
}
