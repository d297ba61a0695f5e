//! One test per question and release, each with a scene of its own.

/// Makes a module of tests of each question, a function that is given the scene. Releases behind `always` are asked in
/// every run, those behind `others` with `--include-ignored`.
macro_rules! questions {
    (
        $release:ident => $scene:expr;
        always $always:tt;
        others $others:tt;
        $($question:ident),* $(,)?
    ) => {$(
        mod $question {
            use super::{Release, Scene, require_peers};

            fn ask($release: Release) {
                if require_peers($release) {
                    super::$question($scene);
                }
            }

            $crate::support::asked_of! { $always $others }
        }
    )*};
}

macro_rules! asked_of {
    ([$($always:ident = $release:ident),*] [$($other:ident = $other_release:ident),*]) => {
        $(
            #[test]
            fn $always() {
                ask(Release::$release);
            }
        )*
        $(
            #[test]
            #[ignore = "other releases; tests/run full"]
            fn $other() {
                ask(Release::$other_release);
            }
        )*
    };
}

pub(crate) use {asked_of, questions};
