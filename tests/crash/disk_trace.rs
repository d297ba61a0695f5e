//! What a program does to a folder, call by call, as `strace` saw it: where it can be stopped, and what a disk that loses
//! power may have kept of it.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file compiles this module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "panicking is how tests report"
)]

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// Calls that change a file system, and those that tell where a `write` goes.
const TRACED: &str = "openat,lseek,write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,rename,renameat,\
                      renameat2,mkdir,mkdirat,ftruncate,fallocate,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,\
                      copy_file_range";

/// Longer strings would be cut.
const STRING: &str = "33554432";

/// One call that changed something below the folder. Paths are relative to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// The path it names, or that its descriptor has.
    pub path: PathBuf,
    /// The path by which `strace` knows it: the folder where it names a file relative to that.
    watched: PathBuf,
    /// Which of the calls of this name with that path it is, from 1.
    pub number: usize,
    pub effect: Effect,
}

/// What it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Opened a file that is created or emptied by that if need be.
    Create {
        empties: bool,
    },
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    Truncate {
        length: usize,
    },
    Rename {
        to: PathBuf,
    },
    Remove,
    MakeFolder,
    RemoveFolder,
    Sync,
    /// Nothing that a disk would keep.
    Nothing,
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    Killed,
    Fails(&'static str),
}

pub const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Fails("EIO"), Fault::Fails("ENOSPC")];

impl Fault {
    /// As `strace -e inject` wants it.
    pub fn inject(self) -> String {
        match self {
            Fault::Killed => "signal=KILL".to_owned(),
            Fault::Fails(errno) => format!("error={errno}"),
        }
    }

    /// Whether it can happen at a call of this name.
    pub fn can_hit(self, call: &str) -> bool {
        match self {
            Fault::Fails("ENOSPC") => ["write", "pwrite64", "mkdir", "openat", "ftruncate"].contains(&call),
            _ => true,
        }
    }
}

/// Whether calls can be traced and stopped here. Says loudly if not; under `CI=true` that is a failure.
pub fn require_strace(what: &str) -> bool {
    let version = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if version.is_ok_and(|status| status.success()) {
        return true;
    }
    assert!(env::var("CI").as_deref() != Ok("true"), "missing: strace");
    // past the capture of test output
    let _ = io::stderr().write_all(format!("SKIPPED {what}: missing strace\n").as_bytes());
    false
}

/// A folder on a disk in memory, where there is one: for programs that run hundreds of times.
pub fn folder_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        TempDir::new_in(memory)
    } else {
        TempDir::new()
    };
    folder.unwrap()
}

/// Runs a program to its end and gives what it did below `folder`, in the order in which the calls began. Several
/// threads only sync; what one of them makes durable was all done before, so that this order tells the truth.
pub fn record<A: AsRef<OsStr>>(program: &str, args: &[A], folder: &Path) -> Vec<Call> {
    let mut threads = trace(TRACED, program, args, folder);
    for calls in &mut threads {
        calls.retain(|(_, call)| !is_of_journal(call));
    }
    let only_syncs = |(_, call): &(_, Call)| matches!(call.effect, Effect::Sync | Effect::Nothing);
    let changing = threads.iter().filter(|calls| !calls.iter().all(only_syncs)).count();
    assert_eq!(changing, 1, "one thread alone changes what is on the disk");
    let mut calls: Vec<_> = threads.into_iter().flatten().collect();
    calls.sort_by(|(one, _), (other, _)| one.cmp(other));
    let copied = calls.iter().any(|(_, call)| call.name == "copy_file_range");
    assert!(!copied, "copy_file_range on the disk, which is not followed here");
    calls.into_iter().map(|(_, call)| call).collect()
}

/// The same of any program, in no order: where it can be stopped, not what it leaves.
pub fn calls<A: AsRef<OsStr>>(program: &str, args: &[A], folder: &Path) -> Vec<Call> {
    calls_of(TRACED, program, args, folder)
}

/// The same of the calls of these names.
pub fn calls_of<A: AsRef<OsStr>>(traced: &str, program: &str, args: &[A], folder: &Path) -> Vec<Call> {
    let threads = trace(traced, program, args, folder).into_iter().flatten();
    let calls = threads.map(|(_, call)| call);
    calls.filter(|call| !is_of_journal(call)).collect()
}

/// The same of the calls on the journal alone, which all others leave out: what happens there is no matter of the backup.
pub fn journal_calls<A: AsRef<OsStr>>(traced: &str, program: &str, args: &[A], folder: &Path) -> Vec<Call> {
    let threads = trace(traced, program, args, folder).into_iter().flatten();
    threads.map(|(_, call)| call).filter(is_of_journal).collect()
}

fn is_of_journal(call: &Call) -> bool {
    call.path.to_string_lossy().contains(".journal")
}

/// The calls of each thread, with the time at which each began.
fn trace<A: AsRef<OsStr>>(traced: &str, program: &str, args: &[A], folder: &Path) -> Vec<Vec<(String, Call)>> {
    let logs = tempfile::tempdir().unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-qq", "-ttt", "-y", "-xx", "-s", STRING, "-e"]);
    strace
        .arg(format!("trace={traced}"))
        .arg("-o")
        .arg(logs.path().join("log"));
    let output = strace.arg(program).args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let logs = fs::read_dir(logs.path()).unwrap().map(|entry| entry.unwrap().path());
    logs.map(|log| read(&fs::read_to_string(log).unwrap(), folder))
        .collect()
}

/// Runs a program that is killed, or whose call fails, at one of the recorded calls.
pub fn run_with_fault<A: AsRef<OsStr>>(program: &str, args: &[A], folder: &Path, call: &Call, fault: &str) -> Output {
    // without a slash at the end, which the folder itself would get
    let path: PathBuf = folder.components().chain(call.watched.components()).collect();
    let mut strace = Command::new("strace");
    if fault.starts_with("error=") {
        // all other calls run at full speed; a signal would come after the call then
        strace.arg("--seccomp-bpf");
    }
    strace.args(["-f", "-qq", "-o", "/dev/null", "-P"]).arg(path);
    strace.arg("-e").arg(format!("trace={}", call.name));
    strace
        .arg("-e")
        .arg(format!("inject={}:{fault}:when={}", call.name, call.number));
    strace.arg(program).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The calls of one thread, with the time at which each began.
#[expect(clippy::too_many_lines, reason = "one arm for each call of the system")]
fn read(text: &str, folder: &Path) -> Vec<(String, Call)> {
    let mut calls = Vec::new();
    let mut numbers: BTreeMap<(String, PathBuf), usize> = BTreeMap::new();
    // where `write` goes on, by descriptor
    let mut positions: BTreeMap<String, usize> = BTreeMap::new();
    // seconds since 1970 and microseconds come first, always with the same number of digits
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    // a thread that waits while the program ends is in no call that `strace` can name
    for (time, line) in lines.filter(|(_, line)| !line.starts_with(['+', '-', '?'])) {
        let (name, rest) = line.split_once('(').unwrap_or_else(|| panic!("{line:.200}"));
        let (arguments, result) = rest.rsplit_once(" = ").unwrap_or_else(|| panic!("{line:.200}"));
        let arguments = split(arguments.trim_end().trim_end_matches(')'));
        let failed = result.starts_with('-');
        if name == "openat" && !failed {
            let descriptor = result.split('<').next().unwrap().to_owned();
            positions.insert(descriptor, 0);
        }
        let descriptor = arguments[0].split('<').next().unwrap().to_owned();
        if name == "lseek" && !failed {
            positions.insert(descriptor.clone(), result.trim().parse().unwrap());
        }
        // openat and its kin name a path relative to a descriptor
        let at = |n: usize| -> Option<PathBuf> {
            let path = quoted(&arguments[n])?;
            let base = n
                .checked_sub(1)
                .and_then(|before| arguments.get(before))
                .and_then(|base| descriptor_path(base));
            let path = base.map_or_else(|| path.clone(), |base| base.join(&path));
            path.strip_prefix(folder).ok().map(Path::to_owned)
        };
        let own = || -> Option<PathBuf> {
            let path = descriptor_path(&arguments[0])?;
            path.strip_prefix(folder).ok().map(Path::to_owned)
        };
        let path = match name {
            "openat" | "unlinkat" | "mkdirat" | "renameat" | "renameat2" | "fchmodat" | "fchownat" | "statx"
            | "newfstatat" => at(1),
            "rename" | "mkdir" | "unlink" | "rmdir" | "chmod" | "chown" | "lchown" | "statfs" => at(0),
            _ => own(),
        };
        let number_of = |n: usize| -> usize { arguments[n].trim().parse().unwrap() };
        let effect = match name {
            "lseek" => continue,
            "openat" if !arguments[2].contains("O_CREAT") && !arguments[2].contains("O_TRUNC") => Effect::Nothing,
            "openat" => Effect::Create {
                empties: arguments[2].contains("O_TRUNC"),
            },
            "write" => {
                let bytes = unescape(inner(&arguments[1]).unwrap());
                let position = positions.entry(descriptor).or_default();
                let offset = *position;
                *position += bytes.len();
                Effect::Write { offset, bytes }
            }
            "pwrite64" => Effect::Write {
                offset: number_of(3),
                bytes: unescape(inner(&arguments[1]).unwrap()),
            },
            "ftruncate" => Effect::Truncate { length: number_of(1) },
            "rename" => Effect::Rename {
                to: at(1).unwrap_or_default(),
            },
            "renameat" | "renameat2" => Effect::Rename {
                to: at(3).unwrap_or_default(),
            },
            "unlinkat" if arguments[2].contains("AT_REMOVEDIR") => Effect::RemoveFolder,
            "unlink" | "unlinkat" => Effect::Remove,
            "rmdir" => Effect::RemoveFolder,
            "mkdir" | "mkdirat" => Effect::MakeFolder,
            "fsync" | "fdatasync" => Effect::Sync,
            _ => Effect::Nothing,
        };
        let Some(path) = path else { continue };
        let effect = if failed { Effect::Nothing } else { effect };
        let is_at = name.trim_end_matches('2').ends_with("at") || name == "statx";
        let relative = is_at && !arguments[0].starts_with("AT_FDCWD");
        // by the folder that is open, which for `.` is not the one that the name lies in
        let watch = |path: &Path, descriptor: usize| {
            let folder_of =
                |argument: &String| descriptor_path(argument)?.strip_prefix(folder).ok().map(Path::to_owned);
            let open = relative.then(|| arguments.get(descriptor).and_then(folder_of));
            open.flatten().unwrap_or_else(|| path.to_owned())
        };
        let watched = watch(&path, 0);
        // of a plain `rename` strace compares the old name alone
        let mut named = vec![watched.clone()];
        if let Effect::Rename { to } = &effect
            && name != "rename"
            && watch(to, 2) != watched
        {
            named.push(watch(to, 2));
        }
        let mut number = 0;
        for path in named {
            let count = numbers.entry((name.to_owned(), path)).or_default();
            *count += 1;
            number = if number == 0 { *count } else { number };
        }
        let writes = matches!(name, "write" | "pwrite64" | "ftruncate");
        assert!(!writes || effect != Effect::Nothing, "{line:.200}");
        assert!(
            !matches!(name, "writev" | "pwritev" | "fallocate"),
            "{name} on the disk, which is not followed here"
        );
        let call = Call {
            name: name.to_owned(),
            path,
            watched,
            number,
            effect,
        };
        calls.push((time.to_owned(), call));
    }
    calls
}

/// The arguments of a call; none of its strings holds a comma, as they are hexadecimal.
fn split(arguments: &str) -> Vec<String> {
    arguments.split(", ").map(str::to_owned).collect()
}

/// The path in `"\x2f…"`.
fn quoted(argument: &str) -> Option<PathBuf> {
    inner(argument).map(|text| PathBuf::from(String::from_utf8(unescape(text)).unwrap()))
}

fn inner(argument: &str) -> Option<&str> {
    argument.strip_prefix('"')?.strip_suffix('"')
}

/// The path in `3<\x2f…>`.
fn descriptor_path(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.split_once('<')?;
    let path = unescape(path.split('>').next()?);
    Some(PathBuf::from(String::from_utf8(path).ok()?))
}

fn unescape(text: &str) -> Vec<u8> {
    text.split("\\x")
        .filter(|hex| !hex.is_empty())
        .map(|hex| u8::from_str_radix(hex.get(..2).unwrap(), 16).unwrap())
        .collect()
}
