//! The states that a crash may leave of a recording, each with a name by which it can be built again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::history::{Durable, History, Reach};
use crate::image::{Content, Id, Image, Kind, Page, Tree, zeros};
use crate::log_tree::{self, Replayed};
use crate::record::Op;

/// What a file system promises of the order in which changes reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Model {
    /// ext4 and XFS: all metadata go through one journal, in order, of which a crash leaves the front. A sync of an inode
    /// puts there everything up to that inode's last change. Data go to their place at any time until they are
    /// synced; a new place counts when the journal has it, and so does a length that a write brought about.
    Ordered,
    /// Btrfs: the whole tree as it was at some moment since the last `syncfs`, and on top of it what `fsync` logged
    /// since: the inode with its names and the folders on the way there, but none of their other entries.
    LogTree,
}

/// What of the open choices has reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pick {
    /// Nothing.
    Oldest,
    /// Everything.
    Newest,
    /// One alone.
    Only(usize),
    /// All but one.
    Without(usize),
    /// The combination of this number.
    Nth(u64),
    /// Anything, by this seed.
    Random(u64),
}

/// A crash state: after `crash` operations, with the first `cut` of them in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct StateId {
    pub(crate) model: Model,
    pub(crate) crash: usize,
    pub(crate) cut: usize,
    pub(crate) pick: Pick,
}

/// A crash state but for the choices that are left open.
#[derive(Debug)]
pub(crate) struct Skeleton {
    tree: Tree,
    contents: BTreeMap<Id, Content>,
    choices: Vec<Choice>,
}

#[derive(Debug)]
enum Choice {
    Page(Id, u64, Vec<Page>),
    Size(Id, Vec<u64>),
}

impl Choice {
    fn len(&self) -> usize {
        match self {
            Self::Page(_, _, pages) => pages.len(),
            Self::Size(_, sizes) => sizes.len(),
        }
    }
}

impl Model {
    pub(crate) const EACH: [Self; 2] = [Self::Ordered, Self::LogTree];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::LogTree => "log-tree",
        }
    }

    /// The cuts that may go with a crash after what is `durable`.
    pub(crate) fn first_cut(self, durable: &Durable) -> usize {
        match self {
            Self::Ordered => durable.journal,
            Self::LogTree => durable.whole,
        }
    }
}

impl Skeleton {
    pub(crate) fn new(
        history: &History,
        durable: &Durable,
        (model, crash, cut): (Model, usize, usize),
    ) -> Self {
        let left = match model {
            Model::Ordered => Replayed {
                tree: Tree::clone(&history.trees[cut]),
                reach: BTreeMap::new(),
                cut,
            },
            Model::LogTree => log_tree::replay(history, crash, cut),
        };
        let mut skeleton = Self {
            tree: left.tree,
            contents: BTreeMap::new(),
            choices: Vec::new(),
        };
        let files: Vec<Id> = skeleton
            .tree
            .inodes
            .iter()
            .filter(|(_, inode)| inode.kind == Kind::File)
            .map(|(id, _)| *id)
            .collect();
        for id in files {
            let cut = left.reach.get(&id).copied().unwrap_or(left.cut);
            skeleton.file(history, durable, id, Reach { crash, cut });
        }
        skeleton
    }

    fn file(&mut self, history: &History, durable: &Durable, id: Id, reach: Reach) {
        let file = &history.files[&id];
        let mut content = Content::default();
        for index in file.known_pages() {
            let mut left = file.pages_left(id, index, reach, durable);
            // A large hole may be made in several steps.
            let half_punched = matches!(history.ops.get(reach.cut), Some(Op::Punch(punched, ..)) if *punched == id)
                && reach.cut < reach.crash
                && file.is_cleared_by(index, reach.cut);
            if half_punched {
                left.push(zeros());
            }
            if left.len() > 1 {
                self.choices.push(Choice::Page(id, index, left));
            } else {
                set_page(&mut content, index, &left[0]);
            }
        }
        let sizes = file.sizes_left(id, reach, durable);
        content.len = sizes[0];
        if sizes.len() > 1 {
            self.choices.push(Choice::Size(id, sizes));
        }
        self.contents.insert(id, content);
    }

    pub(crate) fn choices(&self) -> usize {
        self.choices.len()
    }

    /// How many combinations of the open choices there are.
    pub(crate) fn combinations(&self) -> u64 {
        let product = |so_far: u64, choice: &Choice| so_far.saturating_mul(choice.len() as u64);
        self.choices.iter().fold(1, product)
    }

    /// The state with these choices made.
    pub(crate) fn state(&self, pick: Pick) -> Image {
        let mut contents = self.contents.clone();
        let mut picker = Picker::new(pick);
        for (nth, choice) in self.choices.iter().enumerate() {
            let chosen = picker.choose(nth, choice.len());
            match choice {
                Choice::Page(id, index, pages) => {
                    set_page(contents.entry(*id).or_default(), *index, &pages[chosen]);
                }
                Choice::Size(id, sizes) => contents.entry(*id).or_default().len = sizes[chosen],
            }
        }
        for content in contents.values_mut() {
            let len = content.len;
            content
                .pages
                .retain(|index, _| index * crate::image::PAGE < len);
        }
        Image {
            tree: self.tree.clone(),
            contents,
        }
    }
}

fn set_page(content: &mut Content, index: u64, page: &Page) {
    if page.iter().any(|byte| *byte != 0) {
        content.pages.insert(index, Arc::clone(page));
    } else {
        content.pages.remove(&index);
    }
}

/// Makes one choice after another.
struct Picker {
    pick: Pick,
    rest: u64,
    random: Random,
}

impl Picker {
    fn new(pick: Pick) -> Self {
        let number = match pick {
            Pick::Nth(number) | Pick::Random(number) => number,
            _ => 0,
        };
        Self {
            pick,
            rest: number,
            random: Random::new(number),
        }
    }

    fn choose(&mut self, nth: usize, len: usize) -> usize {
        let (oldest, newest) = (0, len - 1);
        match self.pick {
            Pick::Oldest => oldest,
            Pick::Newest => newest,
            Pick::Only(one) => {
                if nth == one {
                    newest
                } else {
                    oldest
                }
            }
            Pick::Without(one) => {
                if nth == one {
                    oldest
                } else {
                    newest
                }
            }
            Pick::Nth(_) => {
                let chosen = self.rest % len as u64;
                self.rest /= len as u64;
                chosen as usize
            }
            Pick::Random(_) => self.random.below(len),
        }
    }
}

/// Numbers that a seed brings about, the same everywhere (SplitMix64 by Steele, Lea and Flood).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:", self.model.name(), self.crash, self.cut)?;
        match self.pick {
            Pick::Oldest => write!(f, "oldest"),
            Pick::Newest => write!(f, "newest"),
            Pick::Only(one) => write!(f, "only-{one}"),
            Pick::Without(one) => write!(f, "without-{one}"),
            Pick::Nth(number) => write!(f, "nth-{number}"),
            Pick::Random(seed) => write!(f, "random-{seed}"),
        }
    }
}

impl FromStr for StateId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("no crash state: {text}");
        let [model, crash, cut, pick] = text.split(':').collect::<Vec<_>>()[..] else {
            return Err(bad());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_no_number| bad());
        let (how, which) = pick.split_once('-').unwrap_or((pick, "0"));
        let which = number(which)?;
        Ok(Self {
            model: Model::EACH
                .into_iter()
                .find(|known| known.name() == model)
                .ok_or_else(bad)?,
            crash: number(crash)? as usize,
            cut: number(cut)? as usize,
            pick: match how {
                "oldest" => Pick::Oldest,
                "newest" => Pick::Newest,
                "only" => Pick::Only(which as usize),
                "without" => Pick::Without(which as usize),
                "nth" => Pick::Nth(which),
                "random" => Pick::Random(which),
                _ => return Err(bad()),
            },
        })
    }
}
