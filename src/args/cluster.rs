//! The options of a cluster: which one, and which of its members.

use super::{
    definitions::CLUSTER,
    quantity,
    request::{RequestError, given, quantity},
};
use neo4j_backup_core::{ClusterOptions, source::discovery::Preference};
use neo4j_format::ids::MemberId;

/// What was typed; not judged.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = CLUSTER)]
pub(crate) struct ClusterArgs {
    /// Name of the cluster [default: neo4j.ha, or the only one]
    #[arg(
        long,
        alias = "ha.cluster_name",
        value_name = "NAME",
        hide_env = true,
        env = "NEO4J_BACKUP_CLUSTER"
    )]
    pub(crate) cluster: Option<String>,

    /// Which members to ask first: master, slave or any [default: master]
    ///
    /// any is the most up-to-date member. If a member fails, the next one is asked.
    #[arg(long, value_name = "WHICH", hide_env = true, env = "NEO4J_BACKUP_HA_PREFER")]
    pub(crate) ha_prefer: Option<String>,

    #[arg(
        long,
        help = "Ask only this member: its ha.server_id [default: all eligible]",
        value_name = "ID",
        hide_env = true,
        env = "NEO4J_BACKUP_HA_MEMBER"
    )]
    pub(crate) ha_member: Option<String>,

    /// Accept slaves up to N transactions behind the master [default: 1000]
    #[arg(long, value_name = "N", hide_env = true, env = "NEO4J_BACKUP_HA_MAX_LAG")]
    pub(crate) ha_max_lag: Option<String>,

    #[arg(
        long,
        help = "Keep trying the ZooKeeper servers for this time [default: 20s]",
        long_help = "Keep trying the ZooKeeper servers for this time while none of them serves [default: 20s]. One answer \
                     may take a quarter of it.",
        value_name = "TIME",
        hide_env = true,
        hide_short_help = true,
        env = "NEO4J_BACKUP_ZK_TIMEOUT"
    )]
    pub(crate) zk_timeout: Option<String>,
}

/// The options that these arguments make.
///
/// # Errors
/// [`RequestError`] for the first argument that is not understood.
pub(crate) fn options(args: &ClusterArgs) -> Result<ClusterOptions, RequestError> {
    let defaults = ClusterOptions::default();
    Ok(ClusterOptions {
        name: given(args.cluster.as_deref()).map(str::to_owned),
        preference: word(
            "ha-prefer",
            args.ha_prefer.as_deref(),
            "master, slave or any is expected",
            |text| Preference::from_name(&text.to_ascii_lowercase()),
        )?
        .unwrap_or(defaults.preference),
        member: word(
            "ha-member",
            args.ha_member.as_deref(),
            "the number of a member is expected",
            |text| text.parse().ok().map(MemberId),
        )?,
        max_lag: word(
            "ha-max-lag",
            args.ha_max_lag.as_deref(),
            "a number of transactions is expected",
            |text| text.parse().ok(),
        )?
        .unwrap_or(defaults.max_lag),
        zookeeper_timeout: quantity("zk-timeout", args.zk_timeout.as_deref(), quantity::time)?
            .unwrap_or(defaults.zookeeper_timeout),
    })
}

fn word<T>(
    option: &'static str,
    text: Option<&str>,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, RequestError> {
    let Some(text) = given(text) else { return Ok(None) };
    let wrong = || RequestError::Word {
        option,
        text: text.to_owned(),
        expected,
    };
    parse(text).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_options_leave_the_defaults() {
        assert_eq!(options(&ClusterArgs::default()).unwrap(), ClusterOptions::default());
    }

    #[test]
    fn each_option_is_judged() {
        let given = |prefer: &str, member: &str, lag: &str| ClusterArgs {
            cluster: Some("alpha".into()),
            ha_prefer: Some(prefer.into()),
            ha_member: Some(member.into()),
            ha_max_lag: Some(lag.into()),
            zk_timeout: Some("1m".into()),
        };
        let expected = ClusterOptions {
            name: Some("alpha".into()),
            preference: Preference::Any,
            member: Some(MemberId(-3)),
            max_lag: 0,
            zookeeper_timeout: std::time::Duration::from_mins(1),
        };
        assert_eq!(options(&given("Any", "-3", "0")).unwrap(), expected);
        for (args, option) in [
            (given("leader", "1", "1"), "ha-prefer"),
            (given("any", "one", "1"), "ha-member"),
            (given("any", "1", "-1"), "ha-max-lag"),
        ] {
            let error = options(&args).unwrap_err();
            assert!(
                matches!(error, RequestError::Word { option: o, .. } if o == option),
                "{error}"
            );
        }
    }
}
