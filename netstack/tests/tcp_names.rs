//! Each rule that TCP's code names by RFC and section has a test that is named after it: `rfc5961_3_2_...` for RFC 5961 section 3.2.

use std::collections::BTreeSet;
use std::path::Path;

/// Named in the code, and no rules that could be broken: states and variables, and what is ARP's.
const NO_RULES: [(&str, &str); 3] = [("9293", "3.3.1"), ("9293", "3.3.2"), ("5227", "1.1")];

/// Tests are named after these as well, which are not TCP's: DNS.
const BESIDE_TCP: [&str; 1] = ["5452"];

/// TCP's rules outside `tcp/`.
const BESIDE: [&str; 5] =
    ["src/stack/ingress.rs", "src/stack/beginning.rs", "src/stack/ports.rs", "src/stack/slot.rs", "src/stack/tcp_wire.rs"];

fn sources(directory: &Path, all: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push((path.display().to_string(), std::fs::read_to_string(&path).expect("text")));
        }
    }
}

/// The RFCs, with sections, that the comments of a source name; "" where there is no section.
fn citations(source: &str) -> Vec<(String, String)> {
    let comments: Vec<&str> = source.lines().filter_map(|line| Some(line.split_once("//")?.1.trim_start_matches(['/', '!']))).collect();
    let comments = comments.join(" ");
    let words: Vec<&str> = comments.split_whitespace().map(|word| word.trim_matches(['(', ')', ',', ';', ':', '.'])).collect();
    let is_section = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
    let (mut cited, mut rfc) = (Vec::new(), String::new());
    for at in 0..words.len() {
        let following = |ahead: usize| words.get(at + ahead).copied().unwrap_or("");
        match words[at] {
            "RFC" => {
                rfc = following(1).chars().take_while(char::is_ascii_digit).collect();
                if !rfc.is_empty() && !matches!(following(2), "section" | "sections" | "appendix") {
                    cited.push((rfc.clone(), String::new()));
                }
            }
            "appendix" if !rfc.is_empty() => cited.push((rfc.clone(), format!("appendix.{}", following(1).to_lowercase()))),
            "section" | "sections" if is_section(following(1)) && !rfc.is_empty() => {
                cited.push((rfc.clone(), following(1).to_owned()));
                if matches!(following(2), "and" | "to") && is_section(following(3)) {
                    cited.push((rfc.clone(), following(3).to_owned()));
                }
            }
            _ => {}
        }
    }
    cited
}

/// All sources that may have tests.
fn test_sources(root: &Path) -> Vec<(String, String)> {
    let mut tests = Vec::new();
    sources(&root.join("src"), &mut tests);
    sources(&root.join("tests"), &mut tests);
    tests
}

/// Names of the tests that are named after a rule.
fn rule_tests(tests: &[(String, String)]) -> BTreeSet<&str> {
    let lines = tests.iter().flat_map(|(_, source)| source.lines().map(str::trim_start));
    lines.filter(|line| line.starts_with("fn rfc")).filter_map(|line| line.strip_prefix("fn ")?.split('(').next()).collect()
}

/// True if one of the names is a test of the section, or of a part of it.
fn is_tested(names: &BTreeSet<&str>, (rfc, section): &(String, String)) -> bool {
    let tail = if section.is_empty() { format!("{rfc}_") } else { format!("{rfc}_{}_", section.replace('.', "_")) };
    names.iter().any(|name| name.starts_with(&format!("rfc{tail}")) || name.contains(&format!("_and_{tail}")))
}

#[test]
fn every_rule_that_the_code_names_has_a_test_named_after_its_section() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = Vec::new();
    sources(&root.join("src/tcp"), &mut code);
    for file in BESIDE {
        code.push((file.to_owned(), std::fs::read_to_string(root.join(file)).expect(file)));
    }
    let tests = test_sources(root);
    let names = rule_tests(&tests);
    let mut cited = 0;
    let mut missing = BTreeSet::new();
    for (file, source) in &code {
        for citation in citations(source) {
            cited += 1;
            if !NO_RULES.contains(&(&citation.0, &citation.1)) && !is_tested(&names, &citation) {
                missing.insert((citation, file));
            }
        }
    }
    assert!(cited > 80, "{cited} citations: are they still written as they were?");
    assert!(missing.is_empty(), "no test is named after {missing:#?}");
}

/// The RFCs of the page of rules, and the sections that it names of each.
fn rows(page: &str) -> Vec<(String, Vec<String>)> {
    let cells = page.lines().filter_map(|line| line.strip_prefix("| ")).map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
    let rows = cells.filter(|cells| cells[0].bytes().all(|byte| byte.is_ascii_digit()));
    let sections = |cell: &str| cell.split(", ").filter(|section| !section.is_empty()).map(str::to_owned).collect();
    rows.map(|cells| (cells[0].to_owned(), sections(cells[1]))).collect()
}

#[test]
fn the_page_of_rules_names_what_is_tested_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("../docs/src/TCP_RULES.md")).expect("the page");
    let tests = test_sources(root);
    let (names, rows) = (rule_tests(&tests), rows(&page));
    assert!(rows.len() > 20, "{} rows: is the table still written as it was?", rows.len());
    let named = rows.iter().flat_map(|(rfc, sections)| sections.iter().map(|section| (rfc.clone(), section.clone())));
    let untested: Vec<_> = named.filter(|citation| !is_tested(&names, citation)).collect();
    assert!(untested.is_empty(), "no test is named after {untested:?}");
    let known: BTreeSet<&str> = rows.iter().map(|(rfc, _)| rfc.as_str()).chain(BESIDE_TCP).collect();
    let rfc = |name: &&str| name["rfc".len()..].split('_').next().map(str::to_owned);
    let missing: BTreeSet<String> = names.iter().filter_map(rfc).filter(|rfc| !known.contains(rfc.as_str())).collect();
    assert!(missing.is_empty(), "tests are named after RFCs that are not on the page: {missing:?}");
}

#[test]
fn citations_are_found_as_they_are_written() {
    let source = "/// One (RFC 1 section 2.3), two\nlet code = 7; // of RFC 44\n    //! section 5 and 6.\n// (section 7; RFC 8's) RFC 9 appendix A\n";
    let expected = [("1", "2.3"), ("44", "5"), ("44", "6"), ("44", "7"), ("8", ""), ("9", "appendix.a")];
    assert_eq!(citations(source), expected.map(|(rfc, section)| (rfc.to_owned(), section.to_owned())));
}
