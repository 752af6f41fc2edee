// Package mirror copies finished parts of the datasets to an S3-compatible object store, and
// makes a data directory of such a copy.
//
// Objects of parts are named by their content and never change. What the copy consists of is
// in one object, the manifest, which is replaced as a whole: a part is in it only after the
// store has shown that it has every byte, and an object is deleted only a while after the
// manifest without it was written. See docs/design/mirror.md.
package mirror
