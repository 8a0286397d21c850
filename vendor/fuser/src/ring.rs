//! Requests and replies over io_uring (Linux 6.14; Documentation/filesystems/fuse/fuse-io-uring.rst).
//!
//! The kernel has a queue for each processor that may ever be there, and puts a request into the queue of the processor
//! that it comes from. A thread, bound to that processor, waits for requests of its queues: the answer to one request and
//! the wait for the next are one system call, and nobody is woken on another processor.
//!
//! Each queue has slots: memory that the kernel writes a request into, and reads the reply from. A slot has one request at a
//! time. What the kernel does not send this way (FORGET, INTERRUPT, what comes before the ring is ready) and notifications
//! still go through /dev/fuse.
//!
//! The kernel hands the next request of a slot to the thread that committed the reply to the one before. So only threads that
//! wait for requests do that; a reply that is made on another is put into the slot, and the thread of its queue is told.
//!
//! Long reads and writes are shared by all threads (`long.rs`). One that comes to the thread of its own queue is rather for a
//! thread that waits: whoever reads a stream has its own to do meanwhile, copying what it read before. Who serves one commits
//! the reply too and so gets the slot's next request; with one that is not long, the slot goes back to the thread of its queue.
//! A RELEASE, which nobody waits for, is shared too: else the next request of who closed the file would wait for it.
//!
//! A thread gives way to whom it answers while short requests follow each other (`give_way.rs`).
//!
//! What waits for a disk by its nature (FSYNC and its kind) is served by threads beside the one of the queue, on the same
//! processor: others' requests there do not wait for the disk.

use std::alloc::Layout;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::IoSlice;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::AsRawFd;
use std::os::fd::FromRawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Instant;

use io_uring::IoUring;
use io_uring::cqueue;
use io_uring::opcode;
use io_uring::squeue;
use io_uring::types::Fd;
use log::debug;
use log::warn;
use parking_lot::Condvar;
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::Filesystem;
use crate::channel::ChannelSender;
use crate::dev_fuse::DevFuse;
use crate::give_way::GiveWay;
use crate::give_way::Processors;
use crate::ll::fuse_abi as abi;
use crate::long::LongQueue;
use crate::long::Presence;
use crate::request::RequestWithSender;
use crate::session::SessionEventLoop;

/// Requests of one queue that are under way at a time, at most; the others wait in the kernel.
const DEPTH: usize = 8;
/// Of a queue whose processor is not there: nothing comes from it.
const DEPTH_OF_ABSENT: usize = 1;
/// `FUSE_MIN_READ_BUFFER`: no payload may be smaller.
const PAYLOAD_MIN: usize = 8192;
const PAGE: usize = 4096;

/// Reads and writes from this length on are worth waking another processor.
const LONG: usize = 128 * 1024;
const READ: u32 = abi::fuse_opcode::FUSE_READ as u32;
const RELEASE: u32 = abi::fuse_opcode::FUSE_RELEASE as u32;
const FSYNC: u32 = abi::fuse_opcode::FUSE_FSYNC as u32;
const FSYNCDIR: u32 = abi::fuse_opcode::FUSE_FSYNCDIR as u32;
const FALLOCATE: u32 = abi::fuse_opcode::FUSE_FALLOCATE as u32;
const COPY_FILE_RANGE: u32 = abi::fuse_opcode::FUSE_COPY_FILE_RANGE as u32;

/// Threads of each processor for what waits for a disk: two files' FSYNCs may share one commit of the disk's journal.
const BESIDE: usize = 2;

/// `enum fuse_uring_cmd`.
const REGISTER: u32 = 1;
const COMMIT_AND_FETCH: u32 = 2;
/// What io_uring says of a completion that is of no slot.
const TOLD: u64 = u64::MAX;

/// A slot among those of all rings.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The ring that registered it.
    home: u32,
    slot: u32,
}

impl Place {
    fn user_data(self) -> u64 {
        u64::from(self.home) << 32 | u64::from(self.slot)
    }

    fn of_user_data(data: u64) -> Self {
        Self {
            home: (data >> 32) as u32,
            slot: data as u32,
        }
    }
}

/// `struct fuse_uring_ent_in_out`.
#[repr(C)]
struct InOut {
    flags: u64,
    commit_id: u64,
    payload_len: u32,
    padding: u32,
    reserved: u64,
}

/// `struct fuse_uring_req_header`.
#[repr(C, align(8))]
struct Header {
    /// `fuse_in_header`, and then `fuse_out_header`.
    in_out: [u8; 128],
    /// The operation's own header.
    operation: [u8; 128],
    ring: InOut,
}

/// The number that stands there in a header.
fn number(header: &[u8; 128], at: usize) -> u32 {
    u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

/// `struct fuse_uring_cmd_req`, in the 80 bytes that a command has.
fn command(commit_id: u64, queue: u16) -> [u8; 80] {
    let mut bytes = [0; 80];
    bytes[8..16].copy_from_slice(&commit_id.to_ne_bytes());
    bytes[16..18].copy_from_slice(&queue.to_ne_bytes());
    bytes
}

/// Where a slot's request is.
#[derive(Debug)]
enum State {
    /// The kernel has the slot.
    Waiting,
    /// The filesystem is at it, and may still read it: the slot's memory stays as it is.
    Dispatched,
    /// The filesystem has gone on, and replies later.
    Parked,
    /// To be given to the kernel.
    Replied(Reply),
}

#[derive(Debug)]
struct Reply {
    header: SmallVec<[u8; size_of::<abi::fuse_out_header>()]>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    /// To be copied into the payload.
    Apart(SmallVec<[u8; 256]>),
    /// In the payload already, so many bytes.
    InPlace(usize),
}

/// Memory that is shared with the kernel. The header stands at its start, the payload at its third page, so that the request
/// can be put in one piece before its payload.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it is the only owner of what it points to.
unsafe impl Send for Memory {}
// SAFETY: all access goes through the slot, which says who may.
unsafe impl Sync for Memory {}

const PAYLOAD_AT: usize = 2 * PAGE;

impl Memory {
    fn new(payload_len: usize) -> io::Result<Self> {
        let layout = Layout::from_size_align(PAYLOAD_AT + payload_len, PAGE)
            .map_err(|_too_large| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // SAFETY: the layout's size is not zero. Zeroed memory of this size is mapped when it is first touched.
        let start = unsafe { std::alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, layout })
    }

    fn header(&self) -> *mut Header {
        self.start.as_ptr().cast()
    }

    fn payload(&self) -> *mut u8 {
        // SAFETY: within the allocation.
        unsafe { self.start.as_ptr().add(PAYLOAD_AT) }
    }

    fn payload_len(&self) -> usize {
        self.layout.size() - PAYLOAD_AT
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { std::alloc::dealloc(self.start.as_ptr(), self.layout) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Long,
    Release,
    Short,
    /// Waits for a disk.
    Slow,
}

struct Slot {
    queue: u16,
    memory: Memory,
    /// The kernel reads them when the slot is registered.
    parts: [libc::iovec; 2],
    state: Mutex<State>,
}

// SAFETY: the pointers of `parts` are into `memory`.
unsafe impl Send for Slot {}
// SAFETY: the same.
unsafe impl Sync for Slot {}

impl Slot {
    fn new(queue: u16, payload_len: usize) -> io::Result<Self> {
        let memory = Memory::new(payload_len)?;
        let parts = [
            libc::iovec {
                iov_base: memory.header().cast(),
                iov_len: size_of::<Header>(),
            },
            libc::iovec {
                iov_base: memory.payload().cast(),
                iov_len: payload_len,
            },
        ];
        Ok(Self {
            queue,
            memory,
            parts,
            state: Mutex::new(State::Waiting),
        })
    }

    /// The request that the kernel put here, in one piece.
    ///
    /// # Safety
    /// The kernel has given the slot back, and no reply to this request was made yet.
    unsafe fn request(&self) -> io::Result<&[u8]> {
        const IN: usize = size_of::<abi::fuse_in_header>();
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "a request of no length");
        // SAFETY: the header is initialized memory, and the kernel does not write it now.
        let header = unsafe { &*self.memory.header() };
        // `fuse_in_header.len`.
        let len = number(&header.in_out, 0) as usize;
        let payload_len = header.ring.payload_len as usize;
        let operation_len = len.checked_sub(IN + payload_len).ok_or_else(invalid)?;
        if operation_len > header.operation.len()
            || operation_len % 8 != 0
            || payload_len > self.memory.payload_len()
        {
            return Err(invalid());
        }
        // SAFETY: both headers fit between the header and the payload, which nobody else writes.
        unsafe {
            let start = self.memory.payload().sub(operation_len + IN);
            start.copy_from_nonoverlapping(header.in_out.as_ptr(), IN);
            start
                .add(IN)
                .copy_from_nonoverlapping(header.operation.as_ptr(), operation_len);
            Ok(std::slice::from_raw_parts(start, len))
        }
    }

    /// Where the request is best served.
    ///
    /// # Safety
    /// As [`Slot::request`].
    unsafe fn kind(&self) -> Kind {
        // SAFETY: as the caller holds.
        let header = unsafe { &*self.memory.header() };
        // `fuse_in_header.opcode`, `fuse_read_in.size`.
        let length = match number(&header.in_out, 4) {
            RELEASE => return Kind::Release,
            FSYNC | FSYNCDIR | FALLOCATE | COPY_FILE_RANGE => return Kind::Slow,
            READ => number(&header.operation, 16),
            _ => header.ring.payload_len,
        };
        match length as usize {
            LONG.. => Kind::Long,
            _ => Kind::Short,
        }
    }

    /// Puts a reply where the kernel reads it.
    ///
    /// # Safety
    /// The request is read no more, and the kernel does not have the slot.
    unsafe fn put(&self, reply: &Reply) {
        // SAFETY: as the caller holds; lengths were checked when the reply was made.
        unsafe {
            let header = &mut *self.memory.header();
            header.in_out[..reply.header.len()].copy_from_slice(&reply.header);
            let len = match &reply.body {
                Body::InPlace(len) => *len,
                Body::Apart(bytes) => {
                    self.memory
                        .payload()
                        .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                    bytes.len()
                }
            };
            header.ring.payload_len = len as u32;
        }
    }
}

/// What a thread that waits shares with those that reply.
struct Slots {
    slots: Vec<Slot>,
    /// Replied to by other threads.
    replied: Mutex<Vec<u32>>,
    /// Of these slots, what the threads beside are to serve.
    slow: Mutex<VecDeque<u32>>,
    slow_told: Condvar,
    /// Of the thread that waits for requests.
    presence: Presence,
    /// Whether the connection has ended.
    has_ended: AtomicBool,
    /// An eventfd: the waiting thread looks at `replied`, and at what is long.
    told: File,
    dev: Arc<DevFuse>,
}

impl Slots {
    fn new(
        queues: impl Iterator<Item = usize>,
        payload_len: usize,
        dev: &Arc<DevFuse>,
    ) -> io::Result<Self> {
        let slots = queues.map(|queue| {
            let queue = u16::try_from(queue).map_err(io::Error::other)?;
            Slot::new(queue, payload_len)
        });
        // SAFETY: a new descriptor of nobody else's, or an error.
        let told = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            File::from_raw_fd(fd)
        };
        Ok(Self {
            slots: slots.collect::<io::Result<_>>()?,
            replied: Mutex::default(),
            slow: Mutex::default(),
            slow_told: Condvar::new(),
            presence: Presence::default(),
            has_ended: AtomicBool::new(false),
            told,
            dev: Arc::clone(dev),
        })
    }

    fn tell(&self) -> io::Result<()> {
        (&self.told).write_all(&1_u64.to_ne_bytes())
    }

    /// Has the filesystem reply to what is in a slot; says whether it has.
    fn dispatch<FS: Filesystem>(
        self: &Arc<Self>,
        nth: u32,
        event_loop: &SessionEventLoop<FS>,
    ) -> io::Result<bool> {
        let slot = self.slot(nth);
        // SAFETY: the kernel gave the slot back, which is marked as dispatched since then: replies wait.
        let (request, payload_is_free) = unsafe {
            let request = slot.request()?;
            (request, (*slot.memory.header()).ring.payload_len == 0)
        };
        let sender = ChannelSender::Ring(RingSender {
            slots: Arc::clone(self),
            slot: nth,
            payload_is_free,
        });
        let request = RequestWithSender::new(sender, request);
        let request =
            request.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "Invalid request"))?;
        request.dispatch(event_loop);
        let mut state = slot.state.lock();
        let is_replied = !matches!(*state, State::Dispatched);
        if !is_replied {
            *state = State::Parked;
        }
        Ok(is_replied)
    }

    fn slot(&self, nth: u32) -> &Slot {
        &self.slots[nth as usize]
    }

    fn hand_beside(&self, nth: u32) {
        self.slow.lock().push_back(nth);
        self.slow_told.notify_one();
    }

    /// Waits for a slow request; `None` when the connection has ended.
    fn next_slow(&self) -> Option<u32> {
        let mut slow = self.slow.lock();
        while slow.is_empty() && !self.has_ended.load(Ordering::Acquire) {
            self.slow_told.wait(&mut slow);
        }
        slow.pop_front()
    }

    /// Under the lock of those who wait: none of them looks before this and waits after it.
    fn end(&self) -> io::Result<()> {
        let slow = self.slow.lock();
        self.has_ended.store(true, Ordering::Release);
        drop(slow);
        self.slow_told.notify_all();
        self.tell()
    }

    /// A slot of these was replied to by another thread than the one that waits.
    fn note_replied(&self, nth: u32) -> io::Result<()> {
        self.replied.lock().push(nth);
        self.tell()
    }
}

impl std::fmt::Debug for Slots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").finish_non_exhaustive()
    }
}

/// Replies to the request of one slot, once.
#[derive(Clone, Debug)]
pub(crate) struct RingSender {
    slots: Arc<Slots>,
    slot: u32,
    /// Whether the request has nothing in the payload.
    payload_is_free: bool,
}

impl RingSender {
    pub(crate) fn dev(&self) -> &Arc<DevFuse> {
        &self.slots.dev
    }

    pub(crate) fn send(&self, bufs: &[IoSlice<'_>]) -> io::Result<()> {
        let (header, body) = bufs.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut bytes = SmallVec::new();
        for part in body {
            bytes.extend_from_slice(part);
        }
        self.reply(header, Body::Apart(bytes))
    }

    /// What was put into [`RingSender::payload`].
    pub(crate) fn send_in_place(&self, header: &[u8], len: usize) -> io::Result<()> {
        self.reply(header, Body::InPlace(len))
    }

    /// The memory that the kernel reads the reply's payload from; `None` where the request lies in it.
    pub(crate) fn payload(&mut self, len: usize) -> Option<&mut [u8]> {
        let slot = self.slots.slot(self.slot);
        if !self.payload_is_free || len > slot.memory.payload_len() {
            return None;
        }
        // SAFETY: the request does not reach into the payload, no reply was made yet, for that consumes the only sender that
        // is asked for it, and the kernel waits for one.
        Some(unsafe { std::slice::from_raw_parts_mut(slot.memory.payload(), len) })
    }

    fn reply(&self, header: &[u8], body: Body) -> io::Result<()> {
        let slot = self.slots.slot(self.slot);
        let fits = match &body {
            Body::Apart(bytes) => bytes.len() <= slot.memory.payload_len(),
            Body::InPlace(len) => self.payload_is_free && *len <= slot.memory.payload_len(),
        };
        if !fits || header.len() != size_of::<abi::fuse_out_header>() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let reply = Reply {
            header: SmallVec::from_slice(header),
            body,
        };
        let mut state = slot.state.lock();
        match *state {
            State::Dispatched => {
                *state = State::Replied(reply);
                return Ok(());
            }
            State::Parked => *state = State::Replied(reply),
            State::Waiting | State::Replied(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
        drop(state);
        self.slots.note_replied(self.slot)
    }
}

type Uring = IoUring<squeue::Entry128, cqueue::Entry>;

/// Whether this process may use a ring of the kind that is needed.
pub(crate) fn is_available() -> bool {
    uring(DEPTH).is_ok()
}

fn uring(slots: usize) -> io::Result<Uring> {
    let entries = u32::try_from((slots + 1).next_power_of_two()).map_err(io::Error::other)?;
    IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(entries)
}

/// The queues that one thread waits for.
pub(crate) struct Ring {
    /// Of all rings.
    all: Vec<Arc<Slots>>,
    /// Which of them is this one.
    nth: usize,
    /// Of all rings.
    long: Arc<LongQueue<(Place, Kind)>>,
    /// The processor that the thread is bound to.
    processor: usize,
    processors: Option<Processors>,
}

/// Ends rings whose connection has ended.
#[derive(Clone)]
pub(crate) struct RingEnd(Vec<Arc<Slots>>);

impl RingEnd {
    pub(crate) fn end(&self) {
        for slots in &self.0 {
            if let Err(error) = slots.end() {
                warn!("a thread that serves requests was not told of the end: {error}");
            }
        }
    }
}

impl Ring {
    /// A ring for each processor that this process may run on; the queues of all others are divided among them.
    pub(crate) fn for_each_processor(
        dev: &Arc<DevFuse>,
        max_write: u32,
    ) -> io::Result<(Vec<Self>, RingEnd)> {
        let queues = processors_possible()?;
        let present = processors_allowed(queues);
        // The kernel wants room for a write of the largest size and for as many pages.
        let payload_len = (max_write as usize).next_multiple_of(PAGE).max(PAYLOAD_MIN);
        let mut all = Vec::with_capacity(present.len());
        for (nth, processor) in present.iter().enumerate() {
            let absent = (0..queues).filter(|queue| !present.contains(queue));
            let absent = absent.skip(nth).step_by(present.len());
            let own = std::iter::repeat_n(*processor, DEPTH);
            let others = absent.flat_map(|queue| std::iter::repeat_n(queue, DEPTH_OF_ABSENT));
            all.push(Arc::new(Slots::new(own.chain(others), payload_len, dev)?));
        }
        let processors = Processors::new(present.len());
        let long = Arc::default();
        let ring = |(nth, processor): (usize, &usize)| Self {
            all: all.clone(),
            nth,
            long: Arc::clone(&long),
            processor: *processor,
            processors: processors.clone(),
        };
        let rings = present.iter().enumerate().map(ring).collect();
        Ok((rings, RingEnd(all)))
    }

    fn own(&self) -> &Arc<Slots> {
        &self.all[self.nth]
    }

    /// The threads beside this ring's.
    pub(crate) fn beside(&self) -> impl Iterator<Item = Beside> {
        let of = || Beside {
            slots: Arc::clone(self.own()),
            processor: self.processor,
        };
        std::iter::repeat_with(of).take(BESIDE)
    }

    /// Serves requests until the connection ends.
    pub(crate) fn run<FS: Filesystem>(self, event_loop: &SessionEventLoop<FS>) -> io::Result<()> {
        bind_to(self.processor);
        let slots = self.all.iter().map(|slots| slots.slots.len()).sum();
        let mut thread = Thread {
            uring: uring(slots)?,
            under_way: 0,
            commits_long: false,
            give_way: GiveWay::new(self.processors.clone()),
            ring: &self,
        };
        for slot in 0..self.own().slots.len() {
            let place = Place {
                home: self.nth as u32,
                slot: slot as u32,
            };
            thread.push(place, REGISTER, 0)?;
        }
        thread.listen()?;
        thread.serve_all(event_loop)
    }
}

/// Serves what waits for a disk.
pub(crate) struct Beside {
    slots: Arc<Slots>,
    processor: usize,
}

impl Beside {
    /// Serves slow requests until the connection ends.
    pub(crate) fn run<FS: Filesystem>(self, event_loop: &SessionEventLoop<FS>) -> io::Result<()> {
        bind_to(self.processor);
        while let Some(nth) = self.slots.next_slow() {
            if self.slots.dispatch(nth, event_loop)? {
                self.slots.note_replied(nth)?;
            }
        }
        Ok(())
    }
}

/// A thread that waits for requests.
struct Thread<'a> {
    uring: Uring,
    /// Commands that the kernel has not completed.
    under_way: usize,
    /// Whether a long reply is to be submitted.
    commits_long: bool,
    give_way: GiveWay,
    ring: &'a Ring,
}

impl<'a> Thread<'a> {
    fn serve_all<FS: Filesystem>(&mut self, event_loop: &SessionEventLoop<FS>) -> io::Result<()> {
        let own = self.ring.own();
        let mut served = Instant::now();
        while self.under_way > 0
            || !own.has_ended.load(Ordering::Acquire)
            || self.ring.long.is_left()
        {
            let is_told = self.wait()?;
            let woken = Instant::now();
            self.give_way.waited(woken - served);
            let is_given = self.serve_completed(event_loop)?;
            self.serve_long(is_told || is_given, event_loop)?;
            served = Instant::now();
            self.give_way.served(served - woken);
        }
        Ok(())
    }

    /// Submits what there is, and waits for something to do; says whether another thread told of a long request.
    fn wait(&mut self) -> io::Result<bool> {
        let own = self.ring.own();
        if self.ring.long.is_left() {
            self.look()?;
            return Ok(false);
        }
        if std::mem::take(&mut self.commits_long) {
            // The kernel copies long replies meanwhile: that is no waiting.
            unless_passing(self.uring.submit())?;
        }
        own.presence.waits();
        let waited = self.uring.submit_and_wait(1);
        let is_told = own.presence.comes_back();
        if is_told {
            self.ring.long.heard();
        }
        unless_passing(waited)?;
        Ok(is_told)
    }

    /// Submits what there is, and has the kernel complete what it can at once.
    fn look(&mut self) -> io::Result<()> {
        /// `IORING_ENTER_GETEVENTS`.
        const GET_EVENTS: u32 = 1;
        let to_submit = self.uring.submission().len() as u32;
        // SAFETY: no argument is passed.
        let looked = unsafe {
            let submitter = self.uring.submitter();
            submitter.enter::<libc::sigset_t>(to_submit, 0, GET_EVENTS, None)
        };
        unless_passing(looked)
    }

    /// Serves what is short; says whether something long came to this thread because it served the one before.
    fn serve_completed<FS: Filesystem>(
        &mut self,
        event_loop: &SessionEventLoop<FS>,
    ) -> io::Result<bool> {
        let mut is_given = false;
        let entries = self.uring.completion();
        let completed = entries.map(|entry| (entry.user_data(), entry.result()));
        let completed: SmallVec<[_; DEPTH]> = completed.collect();
        let mut completed = completed.into_iter();
        while let Some((of, result)) = completed.next() {
            if of == TOLD {
                self.hear()?;
                continue;
            }
            self.under_way -= 1;
            if result < 0 {
                debug!("a slot ends: {}", io::Error::from_raw_os_error(-result));
                continue;
            }
            let place = Place::of_user_data(of);
            is_given |= !self.is_own(place);
            self.serve(place, event_loop)?;
            // Nobody waits for the answer to somebody else's request.
            if completed.len() > 0 {
                self.uring.submit()?;
            }
        }
        Ok(is_given)
    }

    /// What other threads have to say.
    fn hear(&mut self) -> io::Result<()> {
        let own = self.ring.own();
        let mut count = [0; 8];
        (&own.told).read_exact(&mut count)?;
        let replied = std::mem::take(&mut *own.replied.lock());
        for slot in replied {
            let home = self.ring.nth as u32;
            self.commit(Place { home, slot })?;
        }
        self.listen()
    }

    fn home(&self, place: Place) -> &'a Arc<Slots> {
        &self.ring.all[place.home as usize]
    }

    /// Whether the slot is of this thread's queues.
    fn is_own(&self, place: Place) -> bool {
        place.home as usize == self.ring.nth
    }

    fn serve<FS: Filesystem>(
        &mut self,
        place: Place,
        event_loop: &SessionEventLoop<FS>,
    ) -> io::Result<()> {
        let home = self.home(place);
        let slot = home.slot(place.slot);
        *slot.state.lock() = State::Dispatched;
        // SAFETY: the kernel gave the slot back with this completion.
        let kind = unsafe { slot.kind() };
        match kind {
            Kind::Short => self.dispatch(place, kind, event_loop),
            Kind::Long | Kind::Release => {
                self.ring.long.put((place, kind));
                Ok(())
            }
            Kind::Slow => {
                home.hand_beside(place.slot);
                Ok(())
            }
        }
    }

    /// Serves one long request at most: shorter ones may have come meanwhile. The first is this thread's if it is told or
    /// given one; else all are rather for threads that wait.
    fn serve_long<FS: Filesystem>(
        &mut self,
        is_first_own: bool,
        event_loop: &SessionEventLoop<FS>,
    ) -> io::Result<()> {
        let long = &self.ring.long;
        let mut taken = None;
        if is_first_own {
            taken = long.take();
        }
        while long.is_left() && self.tell_another()? {}
        if taken.is_none() && long.is_left() {
            taken = long.take();
        }
        let Some((place, kind)) = taken else {
            return Ok(());
        };
        if kind == Kind::Long {
            // It takes its time, which is not to be what others leave.
            self.give_way.stop();
        }
        self.dispatch(place, kind, event_loop)
    }

    /// Has a thread that waits take a long request, the next one first: not all tell the same.
    fn tell_another(&self) -> io::Result<bool> {
        let (all, nth) = (&self.ring.all, self.ring.nth);
        let mut others = all[nth + 1..].iter().chain(&all[..nth]);
        match others.find(|other| self.ring.long.tell(&other.presence)) {
            Some(other) => other.tell().map(|()| true),
            None => Ok(false),
        }
    }

    /// Has the filesystem reply, and gives the kernel what it replied. A slot of another thread's stays here for the next
    /// long request, or goes back.
    fn dispatch<FS: Filesystem>(
        &mut self,
        place: Place,
        kind: Kind,
        event_loop: &SessionEventLoop<FS>,
    ) -> io::Result<()> {
        let home = self.home(place);
        if !home.dispatch(place.slot, event_loop)? {
            return Ok(());
        }
        if kind != Kind::Long && !self.is_own(place) {
            return home.note_replied(place.slot);
        }
        self.commits_long |= kind == Kind::Long;
        self.commit(place)
    }

    /// Gives a reply to the kernel, and the slot for the next request.
    fn commit(&mut self, place: Place) -> io::Result<()> {
        let slot = self.home(place).slot(place.slot);
        let state = std::mem::replace(&mut *slot.state.lock(), State::Waiting);
        let State::Replied(reply) = state else {
            warn!("a slot without a reply");
            return Ok(());
        };
        // SAFETY: the request was dispatched, so nobody reads it any more, and the kernel gets the slot below.
        let commit_id = unsafe {
            slot.put(&reply);
            (*slot.memory.header()).ring.commit_id
        };
        self.push(place, COMMIT_AND_FETCH, commit_id)
    }

    fn push(&mut self, place: Place, operation: u32, commit_id: u64) -> io::Result<()> {
        let home = self.home(place);
        let slot = home.slot(place.slot);
        let fd = Fd(home.dev.as_raw_fd());
        let mut entry = opcode::UringCmd80::new(fd, operation)
            .cmd(command(commit_id, slot.queue))
            .build()
            .user_data(place.user_data());
        // Where the slot is: `addr` and `len` of `struct io_uring_sqe`, which the builder has no words for.
        // SAFETY: an entry is that structure, 128 bytes of plain numbers.
        unsafe {
            let bytes = std::ptr::from_mut(&mut entry).cast::<u8>();
            bytes
                .add(16)
                .cast::<u64>()
                .write_unaligned(slot.parts.as_ptr() as u64);
            bytes
                .add(24)
                .cast::<u32>()
                .write_unaligned(slot.parts.len() as u32);
        }
        self.submit_later(&entry)?;
        self.under_way += 1;
        Ok(())
    }

    /// Has the ring complete something when another thread has something to say.
    fn listen(&mut self) -> io::Result<()> {
        let fd = Fd(self.ring.own().told.as_raw_fd());
        let poll = opcode::PollAdd::new(fd, libc::POLLIN as u32);
        self.submit_later(&poll.build().user_data(TOLD).into())
    }

    fn submit_later(&mut self, entry: &squeue::Entry128) -> io::Result<()> {
        // SAFETY: slots, to which the entries point, live as long as the rings, which outlive this one's.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_full| io::Error::other("the submission queue is full"))
    }
}

/// An error that only says to try again is none.
fn unless_passing(entered: io::Result<usize>) -> io::Result<()> {
    const PASSING: [i32; 3] = [libc::EINTR, libc::EAGAIN, libc::EBUSY];
    match entered {
        Err(error) if error.raw_os_error().is_some_and(|errno| PASSING.contains(&errno)) => Ok(()),
        entered => entered.map(drop),
    }
}

/// How many processors there may ever be (`nr_cpu_ids`).
fn processors_possible() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = text.trim().rsplit(['-', ',']).next();
    let last = last.and_then(|last| last.parse::<usize>().ok());
    last.map(|last| last + 1)
        .ok_or_else(|| io::Error::other("how many processors there may be is not known"))
}

/// Those that this process may run on.
fn processors_allowed(possible: usize) -> Vec<usize> {
    // SAFETY: a set of processors is plain bits, and is written within its size.
    let allowed: Vec<usize> = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        match libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) {
            0 => (0..possible.min(libc::CPU_SETSIZE as usize))
                .filter(|processor| libc::CPU_ISSET(*processor, &set))
                .collect(),
            _ => Vec::new(),
        }
    };
    if allowed.is_empty() { vec![0] } else { allowed }
}

/// Binds this thread to a processor; it serves that one's queue from elsewhere too, though slower.
fn bind_to(processor: usize) {
    // SAFETY: as above.
    let bound = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if bound != 0 {
        debug!(
            "a thread is not bound to processor {processor}: {}",
            io::Error::last_os_error()
        );
    }
}
