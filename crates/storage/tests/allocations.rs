//! How often reads ask for memory: a row of a scan not at all, a point read once, for the value.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hlc::Timestamp;
use keys::{Key, Span};
use storage::{Engine, EngineConfig, ReadOptions, ScanLimits, WriteBatch};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system allocator's; counting neither allocates nor frees.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's own call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's own call.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's own call.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let before = COUNT.with(Cell::get);
    let result = work();
    (COUNT.with(Cell::get) - before, result)
}

#[test]
fn reads_allocate_little() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::open(dir.path(), &EngineConfig::small()).unwrap();
    let key = |row: u32| [&b"key-of-a-row"[..], &row.to_be_bytes()].concat();
    let mut batch = WriteBatch::new();
    for row in 0..2000 {
        batch.put_version(&key(row), Timestamp::new(1, 0), Some(&[7; 150]));
    }
    engine.apply(&batch).unwrap();
    let newest = ReadOptions::at(Timestamp::new(9, 0));

    // The first makes an iterator, which the others use again.
    for (row, most) in [(1, 16), (2, 1), (3, 1)] {
        let key = key(row);
        let (count, found) = allocations(|| engine.get(&key, &newest).unwrap());
        assert!(found.is_some());
        assert!(count <= most, "a get of row {row} allocates {count} times");
        // The second look puts it into memory, where the others find it.
        let (count, _) = allocations(|| engine.latest_version_ts(&key).unwrap());
        assert!(count <= 8, "a key that is put in allocates {count} times");
        let (count, latest) = allocations(|| engine.latest_version_ts(&key).unwrap());
        assert_eq!((count, latest), (0, Some(Timestamp::new(1, 0))));
        let _first = engine.get(&key, &newest).unwrap();
        let (count, found) = allocations(|| engine.get(&key, &newest).unwrap());
        assert_eq!((count, found.is_some()), (0, true));
    }
    for (rows, most) in [(1_u32, 20), (1, 6), (1000, 32)] {
        let span = Span::new(Key::from(key(0)), Key::from(key(rows)));
        let (count, found) = allocations(|| engine.scan(&span, &newest, ScanLimits::default()).unwrap());
        assert_eq!(found.rows.len(), rows as usize);
        assert!(count <= most, "a scan of {rows} rows allocates {count} times");
    }
}
