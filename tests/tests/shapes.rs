//! No statement ends the process: deep, wide and long ones are answered, by rows or by an error that names what is
//! wrong, and so is everybody else meanwhile. `cargo xtask shapes` goes on with random ones for as long as it is told.

#[path = "../../xtask/src/shapes/generate.rs"]
mod generate;
#[path = "../../xtask/src/shapes/probe.rs"]
mod probe;

use generate::{Shape, Shapes, known};
use probe::Probe;
use quorate_tests::config;
use server::{Node, THREAD_STACK_BYTES};
use tempfile::TempDir;

/// Gives a node shapes, on threads as the binary has them.
fn give(shapes: impl Iterator<Item = Shape>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .unwrap();
    let shapes: Vec<Shape> = shapes.collect();
    let tried = async move {
        let dir = TempDir::new().unwrap();
        let node = Node::start(&config(dir.path(), "one")).await.unwrap();
        let address = node.sql_addr();
        let text = format!("host={} port={} user=postgres dbname=postgres", address.ip(), address.port());
        let mut probe = Probe::start(&text).await.unwrap();
        let mut faults = Vec::new();
        for shape in &shapes {
            faults.extend(probe.give(shape).await.map(|fault| format!("{}: {fault}", shape.name)));
        }
        println!("slowest {:?}, longest wait of others {:?}", probe.slowest, probe.worst);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        node.stop().await;
    };
    runtime.block_on(async { tokio::spawn(tried).await.unwrap() });
}

#[test]
fn known_shapes_are_answered() {
    give(known().into_iter());
}

#[test]
fn random_shapes_are_answered() {
    give(Shapes::new(1).take(60));
}
