//! Files that somebody cut below their committed length: no power cut does that, and readers must be told.

use envelopefs::format::layout::Layout;
use envelopefs::fs::Ino;
use envelopefs::storage::Node;
use envelopefs::units::{ChunkIndex, PlainLen};
use envelopefs::volume::Sharing;

use crate::image::{Image, PAGE};
use crate::inprocess::volume::Mounted;
use crate::run::{Scenario, record};

/// Cuts each file that `scenario` has before its steps at every page and beside, and reads all of it.
pub(crate) fn cut_each_file(scenario: Scenario<'_>) {
    let recorded = record(scenario);
    let folder = recorded.home.path().join("cut");
    let mut cuts = 0;
    for (id, content) in &recorded.base.contents {
        let is_users = recorded
            .base
            .tree
            .names_of(*id)
            .any(|(folder, _)| *folder == 0);
        let whole = content.len / PAGE * PAGE;
        for len in (1..whole / PAGE).flat_map(|pages| [pages * PAGE, pages * PAGE + 7]) {
            if is_users {
                let mut image = recorded.base.clone();
                let cut = image.contents.get_mut(id).unwrap();
                cut.len = len;
                cut.pages.retain(|page, _| *page < len.div_ceil(PAGE));
                check_cut(&image, *id, len / PAGE, &folder);
                cuts += 1;
            }
        }
    }
    println!("crash: {cuts} cuts below the committed length, each told");
    assert!(cuts > 0, "no file was cut");
}

/// The chunks before the cut are there, and none behind it.
fn check_cut(image: &Image, id: u32, blocks: u64, folder: &std::path::Path) {
    let ids = image.put(folder);
    let root = Node::open_root(folder).unwrap();
    let at = Mounted::serve(root, folder, Sharing::Exclusive).unwrap();
    let ino = ids.iter().find(|(_, found)| **found == id).unwrap().0;
    let names = at.names_in(Ino::ROOT).unwrap();
    let is_it = |name: &&String| at.find(name).unwrap().0 == *ino;
    let path = names.iter().find(is_it).unwrap();
    let fh = at.open(path, false).unwrap();
    let layout = Layout::DEFAULT;
    let len = at.fs.getattr(Ino(*ino), Some(fh)).unwrap().size;
    let chunks = layout.chunk_count(PlainLen(len));
    assert!(
        chunks > blocks,
        "{path} was not cut: {chunks} chunks, {blocks} blocks"
    );
    for index in 0..chunks {
        let start = layout.chunk_start(ChunkIndex(index)).0;
        let mut byte = [0];
        let read = at.fs.read(fh, start, &mut byte);
        match read {
            Ok(1) if index < blocks => {}
            Err(error) if index >= blocks && error.errno() == libc::EIO => {}
            other => panic!("{path} cut to {blocks} blocks, chunk {index}: {other:?}"),
        }
    }
    at.fs.release(fh).unwrap();
    drop(at);
    std::fs::remove_dir_all(folder).unwrap();
}
