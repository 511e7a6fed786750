//! Links the command so that its segments begin on the boundaries of 2 MiB pages: the engine puts its code on such
//! pages when it starts (`runtime::host::code_pages`).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for option in ["max-page-size=0x200000", "separate-loadable-segments"] {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,{option}");
    }
}
