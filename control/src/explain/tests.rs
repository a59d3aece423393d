//! The bookshop explained: the text that an operator reads, and the names that are looked for.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::compile::compile;
use crate::source::read::{SourceFile, read};

fn bookinfo() -> (Compiler, Arc<World>) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/bookinfo/mesh");
    let compiled = compile(&read(&directory).unwrap().files, false);
    assert_eq!(compiled.errors, 0, "{}", compiled.rendered);
    let world = Arc::new(World::new(compiled.policies));
    let mut compiler = Compiler::default();
    compiler.advance(world.clone());
    (compiler, world)
}

fn ask(from: &str, url: &str, headers: &[&str]) -> Asked {
    let headers = headers.iter().map(ToString::to_string).collect();
    Asked { from: from.to_owned(), url: url.to_owned(), headers, ..Asked::default() }
}

fn explain_all(asked: &[Asked]) -> Vec<Explained> {
    let (mut compiler, world) = bookinfo();
    Views::of(asked, &mut compiler).explain(asked, &world)
}

fn explanation(asked: Asked) -> Explanation {
    match explain_all(&[asked]).pop().unwrap() {
        Explained::Explanation(explanation) => *explanation,
        Explained::Error(why) => panic!("{why}"),
    }
}

/// Compares with `testdata/explain/NAME.txt`; `UPDATE_GOLDEN=1` writes it.
fn golden(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/explain/{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "UPDATE_GOLDEN=1 writes {}", path.display());
}

#[test]
fn the_bookshop_is_explained_from_a_sidecar_and_from_its_gateway() {
    let from_sidecar =
        explanation(ask("bookinfo/productpage", "http://reviews:9080/reviews/0?x=1", &["end-user:jason"]));
    let by_weight = explanation(ask("bookinfo/productpage", "http://reviews:9080/reviews/0", &["end-user:otto"]));
    let from_gateway = explanation(ask("gateway bookinfo/front", "http://127.0.2.10:8080/productpage", &[]));

    golden("sidecar", &from_sidecar.to_string());
    golden("weights", &by_weight.to_string());
    golden("gateway", &from_gateway.to_string());
    assert_eq!((from_sidecar.refused, from_gateway.refused), (None, None));
}

#[test]
fn an_unknown_name_is_answered_with_names_that_are_like_it() {
    let answers = explain_all(&[
        ask("bookinfo/review", "http://reviews:9080/", &[]),
        ask("gateway bookinfo/x", "http://a/", &[]),
    ]);

    assert!(matches!(&answers[0], Explained::Error(why) if why.contains("bookinfo/reviews")), "{answers:?}");
    assert!(matches!(&answers[1], Explained::Error(why) if why.contains("there is no")), "{answers:?}");
}

#[test]
fn tls_of_listener_and_destination_is_explained_with_the_lines_it_is_written_on() {
    let bytes = include_bytes!("../../testdata/tls.in.yaml");
    let compiled = compile(&[SourceFile { path: "tls.yaml".into(), bytes: bytes[..].into() }], false);
    let world = Arc::new(World::new(compiled.policies));
    let mut compiler = Compiler::default();
    compiler.advance(world.clone());
    let asked = [
        ask("gateway shop/front", "https://a.shop.example.com/", &[]),
        ask("gateway shop/front", "https://shop.example.com:8443/", &[]),
        ask("gateway shop/front", "https://x.db.example.com/", &[]),
        ask("gateway shop/front", "http://shop.example.com:443/", &[]),
        ask("gateway shop/front", "https://other.example.com:8443/", &[]),
        ask("shop/web-1", "http://api.example.com:443/", &[]),
    ];

    let answers = Views::of(&asked, &mut compiler).explain(&asked, &world);

    let text: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Explained::Explanation(explanation) => explanation.to_string(),
            Explained::Error(why) => why.clone(),
        })
        .collect();
    assert!(!text.iter().any(|text| text.contains("BEGIN")), "{text:?}");
    golden("tls", &text.join("\n"));
}
