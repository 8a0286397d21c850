//! The workers' chief: gives each operation to its process and holds the outcome against the model.

use std::collections::BTreeSet;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::op::{Access, At, How, On, Op, Outcome, PROCESSES, SLOTS, number_of};
use super::process::{Order, receive, send};
use super::tree::{Body, Model, ROOT};
use crate::workers::{self, Worker};

/// One process that works for the test.
pub(super) struct Member {
    // The stream goes first: at its end the process ends by itself.
    stream: UnixStream,
    _process: Worker,
}

impl Member {
    /// Starts a process; `home` is a folder for its socket.
    pub(super) fn hire(home: &Path) -> Self {
        let socket = tempfile::tempdir_in(home).unwrap();
        let path = socket.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let process = workers::start("model::process::worker", path.to_str().unwrap());
        let (stream, _) = listener.accept().unwrap();
        Self {
            stream,
            _process: process,
        }
    }

    pub(super) fn order(&mut self, order: &Order) -> Outcome {
        send(&mut self.stream, order).expect("the worker listens");
        receive(&mut self.stream).expect("the worker answers")
    }

    pub(super) fn enter(&mut self, folder: &Path) {
        assert_eq!(self.order(&Order::Enter(folder.to_owned())), Outcome::Done);
    }

    pub(super) fn leave(&mut self) {
        assert_eq!(self.order(&Order::Leave), Outcome::Done);
    }

    /// Does an operation, and says why what came of it cannot be.
    pub(super) fn step(
        &mut self,
        model: &mut Model,
        process: usize,
        op: &Op,
    ) -> Result<Outcome, String> {
        let got = self.order(&Order::Do(op.clone()));
        model
            .follow(process, op, &got)
            .map_err(|why| format!("process {process}, {op:?}: {why}"))?;
        Ok(got)
    }

    /// Looks at everything that has a name. Uses the last slot of `process`.
    pub(super) fn verify(&mut self, model: &mut Model, process: usize) -> Result<(), String> {
        self.verify_folder(
            model,
            process,
            ROOT,
            &At {
                from_root: true,
                names: Vec::new(),
            },
        )
    }

    fn verify_folder(
        &mut self,
        model: &mut Model,
        process: usize,
        folder: usize,
        at: &At,
    ) -> Result<(), String> {
        self.step(model, process, &Op::Readdir(at.clone()))?;
        for (name, below) in model.names(folder).unwrap().clone() {
            let mut at = at.clone();
            at.names.push(number_of(&name));
            self.verify_one(model, process, below, &at)?;
        }
        Ok(())
    }

    fn verify_one(
        &mut self,
        model: &mut Model,
        process: usize,
        inode: usize,
        at: &At,
    ) -> Result<(), String> {
        const SLOT: usize = SLOTS - 1;
        let on = On::Path(at.clone());
        self.step(model, process, &Op::Stat(on.clone()))?;
        self.step(model, process, &Op::ListXattr(on.clone()))?;
        for name in model.inodes[inode].xattrs.clone().into_keys() {
            self.step(model, process, &Op::GetXattr(on.clone(), name))?;
        }
        match &model.inodes[inode].body {
            Body::Folder { .. } => self.verify_folder(model, process, inode, at),
            Body::Symlink(_) => self
                .step(model, process, &Op::Readlink(at.clone()))
                .map(drop),
            Body::File(content) => {
                let len = content.len() + 1;
                self.step(model, process, &Op::Open(SLOT, at.clone(), READ))?;
                self.step(model, process, &Op::Pread(SLOT, 0, len))?;
                self.step(model, process, &Op::Close(SLOT)).map(drop)
            }
        }
    }
}

pub(super) const READ: How = How {
    access: Access::Read,
    create: false,
    exclusive: false,
    truncate: false,
    append: false,
};

/// Processes that take turns.
pub(super) struct Crew {
    members: Vec<Member>,
    /// The kinds of operations that came to something other than an errno.
    succeeded: BTreeSet<String>,
}

impl Crew {
    pub(super) fn hire(home: &Path) -> Self {
        Self {
            members: (0..PROCESSES).map(|_| Member::hire(home)).collect(),
            succeeded: BTreeSet::new(),
        }
    }

    pub(super) fn enter(&mut self, folder: &Path) {
        self.members
            .iter_mut()
            .for_each(|member| member.enter(folder));
    }

    pub(super) fn leave(&mut self) {
        self.members.iter_mut().for_each(Member::leave);
    }

    pub(super) fn step(
        &mut self,
        model: &mut Model,
        process: usize,
        op: &Op,
    ) -> Result<(), String> {
        let got = self.members[process].step(model, process, op)?;
        if !matches!(got, Outcome::Errno(_)) {
            self.succeeded.insert(kind_of(op));
        }
        Ok(())
    }

    /// The kinds of operations that have only met errors so far. Random operations on things that
    /// are not there would show little.
    pub(super) fn never_succeeded(&self) -> Vec<&'static str> {
        const KINDS: &str = "Chdir Chmod Close Copy Fallocate Fsync Ftruncate GetXattr Link ListXattr Map Mkdir Open \
            Pread Pwrite Read Readdir Readlink RemoveXattr Rename Rmdir SetXattr Stat Symlink Truncate Unlink Utimes Write";
        KINDS
            .split_whitespace()
            .filter(|kind| !self.succeeded.contains(*kind))
            .collect()
    }

    pub(super) fn verify(&mut self, model: &mut Model) -> Result<(), String> {
        self.members[0].verify(model, 0)
    }
}

/// The operation's name, without what it is about.
fn kind_of(op: &Op) -> String {
    let text = format!("{op:?}");
    let end = text.find(|end: char| !end.is_alphanumeric());
    text[..end.unwrap_or(text.len())].to_owned()
}
