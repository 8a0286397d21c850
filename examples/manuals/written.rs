//! Sections of man pages that no declaration holds. Their form is that of the sections behind `--help`: a heading with a
//! colon, then lines of `  NAME  meaning`, paragraphs, or, as examples, lines to be printed as they are.

pub(crate) const FS: &str = "\
FILES:
  /etc/envelopefs/keys/  where `init` puts new key files of root; mode 0700
  ~/.config/envelopefs/keys/  where it puts those of others
  CIPHERDIR/.envelopefs/  what a volume keeps beside its files: volume.json holds its wrapped volume key. A backup of
    CIPHERDIR holds it too
  /run/envelopefs/  the control sockets of root's mounts; of others: in $XDG_RUNTIME_DIR/envelopefs/
  /etc/fuse.conf  `user_allow_other` there lets others than root mount with --allow-other
  /usr/share/doc/envelopefs/  the documents that these pages name

SEE ALSO:
  mount.envelopefs(8), envelopekms(1), mount(8), fstab(5), fusermount3(1), systemd.mount(5)";

pub(crate) const KMS: &str = "\
FILES:
  /var/lib/envelopekms/  the service's folder, where root or the unit envelopekms.service serves
  ~/.local/share/envelopekms/  the same of others
  envelopekms.toml  the settings, in that folder
  store.db  the store, unless it is a PostgreSQL database
  tls/server.pem, tls/server.key, tls/ca.pem  the certificate, its key, and the authority that clients are to trust
  audit/serve.log  what the server was asked for, line by line

SEE ALSO:
  envelopefs(1), systemd-creds(1), sd_listen_fds(3)";

pub(crate) const HELPER: &str = "\
NAMES:
  mount.envelopefs  mounts, for `mount -t envelopefs` and fstab
  mount.fuse.envelopefs  the same for `mount -o remount,...` of what is mounted: the kernel makes it read-only or writable and
    follows dev, suid, exec and access times; other options are passed over, and the process goes on as it began
  umount.fuse.envelopefs  unmounts, and returns when all is written and the process has ended. umount(8) looks for it with -c
    (as systemd calls it) and -l; without these it unmounts by itself, and a new mount waits for the process

EXIT STATUS:
  As of envelopefs(1). mount(8) hands the number on.

ENVIRONMENT:
  As of envelopefs(1). mount(8) hands it on, systemd and fstab set nothing: a provider's settings stand behind the `?` of
  `key=`, or in an `Environment=` of the unit.

FILES:
  /etc/fstab  the mounts of the machine
  /usr/sbin/mount.envelopefs  where mount(8) looks for this program: a link to envelopefs

EXAMPLES:
  By hand:
      mount -t envelopefs /srv/secrets.enc /srv/secrets -o allow_other

  Lines of /etc/fstab: at boot; at the first access; by one key, whose PIN is in a file:
      /srv/a.enc /srv/a envelopefs allow_other,passphrase_file=/etc/a.pass,nofail 0 0
      /srv/b.enc /srv/b envelopefs allow_other,noauto,x-systemd.automount,x-systemd.idle-timeout=10min 0 0
      /srv/c.enc /srv/c envelopefs key=pkcs11:token=t;object=k?pin-source=/etc/c.pin,nofail 0 0

  Read-only from now on; unmounted, and back when its process has ended:
      mount -o remount,ro /srv/a
      umount -c /srv/a

SEE ALSO:
  envelopefs(1), envelopefs-mount(1), mount(8), fstab(5), umount(8), systemd.automount(5)";
