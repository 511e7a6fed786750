//! `bench/instructions/check` itself: a function that has become dearer fails it. Valgrind and the functions are scripts here.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with stand-ins and recorded counts; gone when dropped.
struct Stage {
    directory: PathBuf,
}

fn script(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Stage {
    /// Two functions, counted ten times each: `quick` takes 100 instructions a time, `slow` 2000.
    fn new(name: &str, recorded: &str) -> Stage {
        let directory = std::env::temp_dir().join(format!("peregrine-instructions-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        script(
            &directory.join("instructions"),
            "#!/bin/sh\ncase $1 in --list) printf 'quick\\nslow\\n' ;; --runs) echo 10 ;; quick | slow) ;; *) echo \"no $1\" >&2; exit 1 ;; esac\n",
        );
        script(
            &directory.join("valgrind"),
            "#!/bin/sh\nfor a; do case $a in --callgrind-out-file=*) out=${a#*=} ;; esac; name=$a; done\n\
             case $name in quick) sum=1000 ;; slow) sum=20000 ;; *) exit 1 ;; esac\necho \"totals: $sum\" >\"$out\"\n",
        );
        std::fs::write(directory.join("counts.toml"), recorded).unwrap();
        Stage { directory }
    }

    fn check(&self, arguments: &[&str]) -> Output {
        let path = format!("{}:{}", self.directory.display(), std::env::var("PATH").unwrap_or_default());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions/check");
        Command::new(script)
            .args(arguments)
            .env("PATH", path)
            .env("INSTRUCTIONS_BINARY", self.directory.join("instructions"))
            .env("INSTRUCTIONS_COUNTS", self.counts())
            .env("TOLERANCE_PERCENT", "3")
            .output()
            .unwrap()
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
    let stage = Stage::new("within", "quick = 98\nslow = 2050\n");
    let output = stage.check(&[]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("+2.0%") && !text(&output).contains("WORSE"), "{}", text(&output));
}

#[test]
fn a_function_that_has_become_dearer_fails_with_its_numbers_and_the_way_to_record_anew() {
    let stage = Stage::new("dearer", "quick = 100\nslow = 1900\n");
    let output = stage.check(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let line = text(&output).lines().find(|line| line.starts_with("slow")).map(str::to_owned).unwrap_or_default();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["slow", "1900", "2000", "+5.3%", "WORSE"]);
    assert!(text(&output).contains("check --record"), "{}", text(&output));
    assert!(stage.check(&["quick"]).status.success(), "the other one alone is as it was");
}

#[test]
fn a_function_that_has_become_cheaper_passes_and_is_named() {
    let stage = Stage::new("cheaper", "quick = 100\nslow = 3000\n");
    let output = stage.check(&[]);
    assert!(output.status.success() && text(&output).contains("-33.3% better"), "{}", text(&output));
}

#[test]
fn a_function_without_a_recorded_count_fails_until_counts_are_recorded() {
    let stage = Stage::new("new", "quick = 100\n");
    assert_eq!(stage.check(&[]).status.code(), Some(1));
    let output = stage.check(&["--record"]);
    assert!(output.status.success(), "{}", text(&output));
    let recorded = std::fs::read_to_string(stage.counts()).unwrap();
    assert!(recorded.ends_with("quick = 100\nslow = 2000\n"), "{recorded}");
    assert!(stage.check(&[]).status.success());
}

#[test]
fn what_does_not_exist_is_an_error() {
    let stage = Stage::new("unknown", "quick = 100\nslow = 2000\n");
    assert_eq!(stage.check(&["nothing"]).status.code(), Some(1));
    assert_eq!(stage.check(&["--nothing"]).status.code(), Some(2));
}
