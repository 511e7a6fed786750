//! `docs/src/ORDER_STATES.md` is made from the code: the state table and the catalogue of refusals as the engine has
//! them. `BLESS=1 cargo test -p peregrine --test generated_docs` writes it anew.

use engine_core::order::state::next;
use engine_core::order::{Next, OrderEvent, OrderState};
use engine_core::risk::Refusal;
use std::fmt::Write;
use std::path::Path;

/// What a cell of the table says.
fn cell(n: Next) -> String {
    match n {
        Next::To(state) => state.as_str().to_owned(),
        Next::Stay => "·".to_owned(),
        Next::Working => "working".to_owned(),
        Next::Resume => "resume".to_owned(),
        Next::FirstAck => "working once".to_owned(),
        Next::RejectedUnlessAcked => "rejected?".to_owned(),
        Next::Gone => "gone".to_owned(),
        Next::Impossible => "✗".to_owned(),
        Next::ImpossibleTo(state) => format!("✗ {}", state.as_str()),
    }
}

fn page() -> String {
    let mut out = String::from(
        "<!-- Written by tools/peregrine/tests/generated_docs.rs from the code. Do not edit. -->\n# Order states\n\n\
         Silence and contradiction never kill an order; only evidence from the venue does. An order whose fate is not known is\n\
         `unknown`, counts as open everywhere, and the venue is asked until it tells. The table is the function `next` in\n\
         `engine/core/src/order/state.rs`, where each surprising row has its reason beside it.\n\n\
         `·` stay. `working`: acked, partially filled or (nothing left) filled, by what is filled. `working once`: the same at the\n\
         first acknowledgement, else stay. `resume`: back to what it was without the request that failed. `rejected?`: rejected if\n\
         never acknowledged or filled, else unknown. `gone`: canceled if it was ever acknowledged, else rejected. `✗`: not allowed;\n\
         an anomaly is journalled, and the state stays or becomes the one named.\n\n",
    );
    write!(out, "| event |").expect("a string");
    for state in OrderState::ALL {
        write!(out, " {} |", state.as_str()).expect("a string");
    }
    out.push_str("\n|---|");
    out.push_str(&"---|".repeat(OrderState::ALL.len()));
    out.push('\n');
    for event in OrderEvent::ALL {
        write!(out, "| `{}` |", event.as_str()).expect("a string");
        for state in OrderState::ALL {
            write!(out, " {} |", cell(next(*state, *event))).expect("a string");
        }
        out.push('\n');
    }
    out.push_str(
        "\n## Why risk refuses\n\nIn the order of the checks. The number is journalled with each refusal, the name is in logs and \
         reports; the reasons in full are in `engine/core/src/risk/refusal.rs`.\n\n| number | name |\n|---|---|\n",
    );
    for refusal in Refusal::ALL {
        writeln!(out, "| {} | `{}` |", *refusal as u32, refusal.as_str()).expect("a string");
    }
    out
}

#[test]
fn the_page_of_order_states_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/ORDER_STATES.md");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, page()).expect("writable");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "{} is not what the code says; run with BLESS=1 to write it anew", path.display());
}
