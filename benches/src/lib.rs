//! Micro-benchmarks across crates; each lies in `benches/`.
