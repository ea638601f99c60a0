//! Compiles the file system of encrypted stores (`cpp/encrypted_fs.cc`) against the headers of the RocksDB that is linked.
//!
//! `librocksdb-sys` says where its sources are, whether it compiled them or was given a library that was made of them
//! (`ROCKSDB_LIB_DIR`). The definitions that the headers look at are those RocksDB itself is compiled with: without
//! `NDEBUG` classes would have other members.

use std::env;
use std::path::PathBuf;

const SOURCE: &str = "cpp/encrypted_fs.cc";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=ROCKSDB_INCLUDE_DIR");
    let sources = env::var_os("DEP_ROCKSDB_CARGO_MANIFEST_DIR").expect("librocksdb-sys says where it is");
    let include = env::var_os("ROCKSDB_INCLUDE_DIR").map_or_else(|| PathBuf::from(sources).join("rocksdb/include"), PathBuf::from);
    cc::Build::new()
        .cpp(true)
        .file(SOURCE)
        .include(include)
        .std("c++20")
        .define("NDEBUG", "1")
        .define("OS_LINUX", None)
        .define("ROCKSDB_PLATFORM_POSIX", None)
        .flag("-include")
        .flag("cstdint")
        .flag_if_supported("-Wno-unused-parameter")
        .compile("quorate_encrypted_fs");
}
