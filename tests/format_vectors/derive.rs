//! The keys of a volume or file from the bytes that a vector gives.

use envelopefs::crypto::derive::{Label, MacKey, derive};
use envelopefs::crypto::secret::SecretKey;
use envelopefs::crypto::siv::SivKey;
use envelopefs::crypto::xaes::XaesKey;
use envelopefs::format::names::NameKey;
use envelopefs::format::xattrs::XattrKeys;

use crate::schema::Hex;

pub(crate) fn secret(bytes: &Hex) -> SecretKey {
    SecretKey::from_slice(&bytes.0).expect("a key of 32 bytes")
}

/// A volume's keys: the volume key, salted with the volume id.
pub(crate) struct VolumeKeys<'a> {
    pub(crate) key: &'a Hex,
    pub(crate) id: &'a Hex,
}

impl VolumeKeys<'_> {
    pub(crate) fn membership(&self) -> MacKey {
        MacKey::new(self.derive(Label::VolumeMembership))
    }

    pub(crate) fn config(&self) -> MacKey {
        MacKey::new(self.derive(Label::VolumeConfig))
    }

    pub(crate) fn names(&self) -> NameKey {
        NameKey::new(self.siv(Label::VolumeNames1, Label::VolumeNames2))
    }

    pub(crate) fn symlinks(&self) -> XaesKey {
        XaesKey::new(&self.derive(Label::VolumeSymlinks))
    }

    pub(crate) fn xattrs(&self) -> XattrKeys {
        XattrKeys::new(self.xattr_names(), self.xattr_values())
    }

    pub(crate) fn xattr_names(&self) -> SivKey {
        self.siv(Label::VolumeXattrNames1, Label::VolumeXattrNames2)
    }

    pub(crate) fn xattr_values(&self) -> XaesKey {
        XaesKey::new(&self.derive(Label::VolumeXattrValues))
    }

    fn siv(&self, mac: Label, enc: Label) -> SivKey {
        SivKey::new(self.derive(mac), self.derive(enc))
    }

    fn derive(&self, label: Label) -> SecretKey {
        derive(&secret(self.key), &self.id.0, label).expect("locked memory")
    }
}
