//! `bench/instructions/check` itself: a function that has become dearer fails it. In all tests but one, the functions and gungraun
//! are a script here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `check` with a binary and counts of ours.
fn run(binary: &Path, counts: &Path, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/check");
    let mut command = Command::new(script);
    command.args(arguments).env("INSTRUCTIONS_BINARY", binary).env("INSTRUCTIONS_COUNTS", counts);
    command.env("CARGO_TARGET_DIR", target()).env("TOLERANCE_PERCENT", "3").output().unwrap()
}

/// Cargo's target directory.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned()
}

/// Two functions, counted ten times each: `quick` takes 100 instructions a time, `slow` 2000. As many of them as the last argument's
/// pattern fits, in gungraun's form; EXCEEDED are above their limits.
const STAND_IN: &str = r#"#!/bin/sh
[ "$1" != --terms ] || { echo 10 3; exit; }
for pattern; do :; done
status=0
result() {
    case $1 in ${pattern#*::}) ;; *) return ;; esac
    limits=
    case " EXCEEDED " in *" $1 "*) limits='{"Hard":{}}' status=3 ;; esac
    total='{"metrics":{"Ir":{"values":{"new":'$2'}}},"regressions":['$limits']}'
    echo '{"function_name":"'$1'","profiles":[{"data":{"total":'$total'}}]}'
}
result quick 1000
result slow 20000
exit $status
"#;

/// A directory with a stand-in and recorded counts; gone when dropped.
struct Stage {
    directory: PathBuf,
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Stage {
    fn new(name: &str, recorded: &str, exceeded: &str) -> Stage {
        let directory = std::env::temp_dir().join(format!("peregrine-instructions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        script(&directory.join("instructions"), &STAND_IN.replace("EXCEEDED", exceeded));
        std::fs::write(directory.join("counts.toml"), recorded).unwrap();
        Stage { directory }
    }

    fn check(&self, arguments: &[&str]) -> Output {
        run(&self.directory.join("instructions"), &self.counts(), arguments)
    }

    fn counts(&self) -> PathBuf {
        self.directory.join("counts.toml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn counts_within_the_tolerance_pass() {
    let stage = Stage::new("within", "quick = 98\nslow = 2050\n", "");
    let output = stage.check(&[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("+2.0%") && !text(&output).contains("WORSE"), "{}", text(&output));
}

#[test]
fn a_function_that_has_become_dearer_fails_with_its_numbers_and_the_way_to_record_anew() {
    let stage = Stage::new("dearer", "quick = 100\nslow = 1900\n", "slow");
    let output = stage.check(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let line = text(&output).lines().find(|line| line.starts_with("slow")).map(str::to_owned).unwrap_or_default();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["slow", "1900", "2000", "+5.3%", "WORSE"]);
    assert!(text(&output).contains("check --record"), "{}", text(&output));
    assert!(stage.check(&["quick"]).status.success(), "the other one alone is as it was");
}

#[test]
fn a_function_that_has_become_cheaper_passes_and_is_named() {
    let stage = Stage::new("cheaper", "quick = 100\nslow = 3000\n", "");
    let output = stage.check(&[]);
    assert!(output.status.success() && text(&output).contains("-33.3% better"), "{}", text(&output));
}

#[test]
fn a_function_without_a_recorded_count_fails_until_counts_are_recorded() {
    let stage = Stage::new("new", "quick = 100\n", "slow");
    let output = stage.check(&[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("1 functions have no recorded count"), "{}", text(&output));
    let output = stage.check(&["--record"]);
    assert!(output.status.success(), "{}", text(&output));
    let recorded = std::fs::read_to_string(stage.counts()).unwrap();
    assert!(recorded.ends_with("quick = 100\nslow = 2000\n"), "{recorded}");
}

#[test]
fn what_does_not_exist_is_an_error() {
    let stage = Stage::new("unknown", "quick = 100\nslow = 2000\n", "");
    assert_eq!(stage.check(&["nothing"]).status.code(), Some(1));
    assert_eq!(stage.check(&["--nothing"]).status.code(), Some(2));
}

/// With callgrind: the function as it is built for tests, whose limits come from the counts.
#[test]
fn gungraun_has_its_limits_from_the_counts() {
    let binary = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/instructions");
    let valgrind = Command::new("valgrind").arg("--version").output();
    if !binary.exists() || !target().join("tools/bin/gungraun-runner").exists() || valgrind.is_err() {
        let reason = "`tools/setup build instructions` and `cargo build -p bench --examples` make what is needed";
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI: {reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let stage = Stage::new("real", "", "");
    let check = |counts: String| {
        std::fs::write(stage.counts(), counts).unwrap();
        run(&binary, &stage.counts(), &["book_near_touch"])
    };
    let fields = |output: &Output| -> Vec<String> {
        let text = text(output);
        let line = text.lines().find(|line| line.starts_with("book_near_touch")).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().map(str::to_owned).collect()
    };
    let unrecorded = check(String::new());
    assert_eq!(unrecorded.status.code(), Some(1), "{}", text(&unrecorded));
    let now: u64 = fields(&unrecorded)[2].parse().unwrap();

    for before in [now, now * 100 / 102] {
        let within = check(format!("book_near_touch = {before}\n"));
        assert!(within.status.success() && fields(&within).len() == 4, "{}", text(&within));
    }
    let before = now * 100 / 105;
    let worse = check(format!("book_near_touch = {before}\n"));
    assert_eq!(worse.status.code(), Some(1), "{}", text(&worse));
    let fields = fields(&worse);
    assert_eq!((&fields[1..3], &fields[4][..]), (&[before.to_string(), now.to_string()][..], "WORSE"));
}
