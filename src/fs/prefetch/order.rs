//! In which order the files of folders stand, and how they are read. Pure state.

use std::collections::HashMap;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::fs::inodes::Ino;
use crate::storage::CName;

/// How many files ahead, at first and at most.
const FIRST_WINDOW: usize = 2;
const LARGEST_WINDOW: usize = 64;
/// Who passes over no more files than this still reads in order.
const PASSED_OVER: usize = 4;
/// Folders whose order is remembered.
const FOLDERS: NonZeroUsize = NonZeroUsize::new(16).unwrap();
/// Files opened one after another in a folder that was not listed, before its order is worth a look.
const UNLISTED: usize = 2;

/// The regular files of a folder, in its order.
#[derive(Debug)]
pub(super) struct Order {
    names: Vec<CName>,
    places: HashMap<Ino, usize>,
}

impl Order {
    pub(super) fn of(files: impl Iterator<Item = (Ino, CName)>) -> Self {
        let (mut names, mut places) = (Vec::new(), HashMap::new());
        for (ino, name) in files {
            places.entry(ino).or_insert(names.len());
            names.push(name);
        }
        Self { names, places }
    }
}

/// How a folder is being read.
#[derive(Debug)]
struct Track {
    order: Order,
    /// The place of the file that was opened last.
    last: Option<usize>,
    /// The first place that was not asked for yet.
    ahead: usize,
}

/// How folders are being read.
#[derive(Debug)]
pub(super) struct Reading {
    folders: LruCache<Ino, Track>,
    window: usize,
    /// Opens in a row in one folder of unknown order.
    unlisted: Option<(Ino, usize)>,
}

/// What an open gives cause for.
#[derive(Debug)]
pub(super) enum Next {
    /// These files come next.
    Ahead(Vec<CName>),
    /// Files are not read in order: what was to be asked for is not wanted.
    Astray,
    Nothing,
    /// The folder's order would be worth knowing.
    Unlisted,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            folders: LruCache::new(FOLDERS),
            window: FIRST_WINDOW,
            unlisted: None,
        }
    }
}

impl Reading {
    pub(super) fn listed(&mut self, folder: Ino, order: Order) {
        let track = Track {
            order,
            last: None,
            ahead: 0,
        };
        self.folders.put(folder, track);
    }

    pub(super) fn opened(&mut self, folder: Ino, file: Ino) -> Next {
        let Some(track) = self.folders.get_mut(&folder) else {
            return self.opened_unlisted(folder);
        };
        let Some(&place) = track.order.places.get(&file) else {
            return Next::Nothing;
        };
        let from = track.last.map_or(0, |last| last + 1);
        let in_order = (from..=from + PASSED_OVER).contains(&place);
        if !in_order {
            let again = track.last == Some(place);
            track.last = Some(place);
            track.ahead = place + 1;
            if again {
                return Next::Nothing;
            }
            self.window = FIRST_WINDOW;
            return Next::Astray;
        }
        // The next folder of a tree that is read in order is read so too.
        if track.last.is_some() {
            self.window = (self.window * 2).min(LARGEST_WINDOW);
        }
        track.last = Some(place);
        let end = (place + 1 + self.window).min(track.order.names.len());
        let start = track.ahead.max(place + 1).min(end);
        track.ahead = end.max(track.ahead);
        let names = track.order.names.get(start..end).unwrap_or_default();
        Next::Ahead(names.to_vec())
    }

    fn opened_unlisted(&mut self, folder: Ino) -> Next {
        let count = match self.unlisted {
            Some((known, count)) if known == folder => count + 1,
            _ => 1,
        };
        self.unlisted = Some((folder, count));
        if count == UNLISTED {
            Next::Unlisted
        } else {
            Next::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: Ino = Ino(9);

    fn name(n: usize) -> CName {
        CName::new(format!("f{n}").as_bytes()).unwrap()
    }

    fn order(count: usize) -> Order {
        Order::of((0..count).map(|n| (Ino(100 + n as u64), name(n))))
    }

    fn reading(count: usize) -> Reading {
        let mut reading = Reading::default();
        reading.listed(FOLDER, order(count));
        reading
    }

    /// The places of the files asked for; `None` where the order was lost.
    fn open(reading: &mut Reading, place: usize) -> Option<Vec<CName>> {
        match reading.opened(FOLDER, Ino(100 + place as u64)) {
            Next::Ahead(names) => Some(names),
            Next::Astray => None,
            Next::Nothing | Next::Unlisted => Some(Vec::new()),
        }
    }

    #[test]
    fn every_file_but_the_first_is_asked_for_once_and_in_order() {
        let mut reading = reading(1000);
        let asked: Vec<_> = (0..1000)
            .flat_map(|place| open(&mut reading, place).unwrap())
            .collect();
        let expected: Vec<_> = (1..1000).map(name).collect();
        assert_eq!(asked, expected);
    }

    #[test]
    fn the_window_grows_and_stays_bounded() {
        let mut reading = reading(1000);
        let mut asked = 0;
        for place in 0..500 {
            asked += open(&mut reading, place).unwrap().len();
            assert!(asked <= place + LARGEST_WINDOW, "at {place}");
        }
        assert_eq!(asked, 499 + LARGEST_WINDOW);
    }

    #[test]
    fn one_file_alone_costs_little() {
        let mut reading = reading(1000);
        assert_eq!(open(&mut reading, 0).unwrap().len(), FIRST_WINDOW);
    }

    #[test]
    fn who_jumps_about_gets_nothing_ahead() {
        let mut reading = reading(1000);
        for place in [500, 3, 700, 20, 999, 100] {
            assert_eq!(open(&mut reading, place), None, "{place}");
        }
        assert_eq!(open(&mut reading, 101).unwrap().len(), 2 * FIRST_WINDOW);
    }

    #[test]
    fn a_few_files_may_be_passed_over_and_one_opened_again() {
        let mut reading = reading(100);
        for place in [0, 2, 5, 5, 6, 10] {
            assert!(open(&mut reading, place).is_some(), "{place}");
        }
        assert_eq!(open(&mut reading, 50), None);
    }

    #[test]
    fn files_made_since_the_listing_and_the_end_of_it_are_no_cause() {
        let mut reading = reading(3);
        assert_eq!(open(&mut reading, 77).unwrap().len(), 0);
        for (place, ahead) in [(0, 2), (1, 0), (2, 0)] {
            assert_eq!(open(&mut reading, place).unwrap().len(), ahead);
        }
    }

    #[test]
    fn the_order_of_a_folder_that_is_read_without_a_listing_is_asked_for_once() {
        let mut reading = Reading::default();
        let mut causes = 0;
        for file in 0..10 {
            causes += usize::from(matches!(reading.opened(FOLDER, Ino(file)), Next::Unlisted));
        }
        assert_eq!(causes, 1);
    }
}
