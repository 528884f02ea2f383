//! The kinds of findings, and how bad each is.

use std::fmt;

use crate::error::Split;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// A score or a model would be wrong.
    CorruptsResult,
    /// Nothing is wrong, but its user should know.
    WorthKnowing,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CorruptsResult => "corrupts a result",
            Self::WorthKnowing => "worth knowing",
        })
    }
}

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The data set names a file that is not there.
    Missing,
    /// The file is no whole PNG or JPEG image, or cannot be read.
    Undecodable,
    /// The file declares more pixels than are decoded, or than its bytes can hold: it is refused
    /// before memory is taken.
    Bomb,
    /// The image's box has no pixel of the image: it is a bad image, as one that does not decode.
    BoxOutside,
    /// An image of an earlier split has the same bytes: a score would be of images that were
    /// trained on, or selected on.
    SharedBytes,
    /// An image of an earlier split shows the same picture, encoded or resized anew.
    SharedPicture,
    /// An image of another class of its split has the same bytes: one of the labels is wrong, and
    /// its nearest neighbour counts as a mistake.
    ConflictingBytes,
    /// An image of another class of its split shows the same picture, encoded or resized anew.
    ConflictingPicture,
    /// An image of its own class and split has the same bytes: as a query it finds its copy.
    RepeatedBytes,
    /// The class has one image: it has no positive.
    LoneClass,
    /// The class is far larger than the others of its split: perhaps several, or a place for what
    /// has no label. The rule: its size is above `Q3 * (Q3 / Q1)^3`, where Q1 and Q3 are the
    /// quartiles of the class sizes of a split of at least 8 classes, and above 4 times the median.
    /// (On logarithms these are Tukey's outer fences; "Exploratory Data Analysis", 1977.)
    LargeClass,
    /// The class is far smaller than the others of its split and has more than one image. The rule:
    /// its size is below `Q1 / (Q3 / Q1)^3` and below a quarter of the median.
    SmallClass,
    /// The image's box reaches over an edge of the image, where it is cut off.
    BoxOverEdge,
    /// The name's extension is that of another kind of file. The content decides how it is decoded.
    ExtensionLies,
    /// The colours are CMYK or YCCK, converted without a colour profile.
    Cmyk,
    /// Samples have 16 bits, of which the upper 8 are kept.
    SixteenBit,
    /// There is transparency: it is dropped, and the colours below it show.
    Alpha,
    /// EXIF says that the picture is to be turned or mirrored, which is ignored by default.
    ExifRotation,
    /// The file is animated (APNG: its still image is used), or of a kind that may be (GIF: not
    /// read).
    Animated,
    /// The image has more than 24 million pixels: decoding it takes long, each time.
    Large,
}

impl Kind {
    /// All kinds, the bad ones first.
    pub const ALL: [Self; 20] = [
        Self::Missing,
        Self::Undecodable,
        Self::Bomb,
        Self::BoxOutside,
        Self::SharedBytes,
        Self::SharedPicture,
        Self::ConflictingBytes,
        Self::ConflictingPicture,
        Self::RepeatedBytes,
        Self::LoneClass,
        Self::LargeClass,
        Self::SmallClass,
        Self::BoxOverEdge,
        Self::ExtensionLies,
        Self::Cmyk,
        Self::SixteenBit,
        Self::Alpha,
        Self::ExifRotation,
        Self::Animated,
        Self::Large,
    ];

    /// Its name, which does not change.
    pub fn name(self) -> &'static str {
        self.words().0
    }

    /// What it means, in a few words.
    pub fn meaning(self) -> &'static str {
        self.words().1
    }

    /// How bad it is. A picture that two classes share is worth knowing only: product photos of
    /// variants that no picture tells apart are common, and no fault of the data.
    pub fn severity(self) -> Severity {
        match self {
            Self::Missing
            | Self::Undecodable
            | Self::Bomb
            | Self::BoxOutside
            | Self::SharedBytes
            | Self::SharedPicture
            | Self::ConflictingBytes => Severity::CorruptsResult,
            _ => Severity::WorthKnowing,
        }
    }

    /// Whether such an image can be neither trained nor measured on.
    pub fn is_unusable(self) -> bool {
        matches!(self, Self::Missing | Self::Undecodable | Self::Bomb | Self::BoxOutside)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("missing", "listed, and not there"),
            Self::Undecodable => ("undecodable", "no whole PNG or JPEG image"),
            Self::Bomb => ("bomb", "declares more pixels than are decoded"),
            Self::BoxOutside => ("box-outside", "a box without a pixel of its image"),
            Self::SharedBytes => ("shared-bytes", "the same bytes in an earlier split"),
            Self::SharedPicture => ("shared-picture", "the same picture in an earlier split"),
            Self::ConflictingBytes => ("conflicting-bytes", "the same bytes in another class"),
            Self::ConflictingPicture => {
                ("conflicting-picture", "the same picture in another class")
            }
            Self::RepeatedBytes => ("repeated-bytes", "the same bytes in its own class"),
            Self::LoneClass => ("lone-class", "a class of one image"),
            Self::LargeClass => ("large-class", "a class far larger than the others"),
            Self::SmallClass => ("small-class", "a class far smaller than the others"),
            Self::BoxOverEdge => {
                ("box-over-edge", "a box that reaches over an edge, cut off there")
            }
            Self::ExtensionLies => ("extension-lies", "the name says another kind of file"),
            Self::Cmyk => ("cmyk", "CMYK colours, converted without a profile"),
            Self::SixteenBit => ("sixteen-bit", "16 bits a sample, of which 8 are kept"),
            Self::Alpha => ("alpha", "transparency, which is dropped"),
            Self::ExifRotation => ("exif-rotation", "turned by EXIF, which is ignored by default"),
            Self::Animated => ("animated", "an animation, of which one image is used at most"),
            Self::Large => ("large", "more than 24 million pixels"),
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// An image, by its name in the data set.
    Image(String),
    /// A class, by its name.
    Class(String),
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub kind: Kind,
    /// In which split.
    pub split: Split,
    /// The image or class.
    pub subject: Subject,
    /// What exactly; may be empty.
    pub detail: String,
    /// The other image, with its split, where two are alike.
    pub twin: Option<(Split, String)>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Subject::Image(name) => write!(f, "'{name}'")?,
            Subject::Class(name) => write!(f, "class '{name}'")?,
        }
        write!(f, " ({})", self.split)?;
        if let Some((split, name)) = &self.twin {
            write!(f, " is like '{name}' ({split})")?;
        }
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}
