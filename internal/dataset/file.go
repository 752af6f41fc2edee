package dataset

import "os"

// File is a single Parquet file with the columns and settings of a part, for rows
// that leave the datasets. Close it: the file is complete only then.
type File[T Row] struct{ part *part[T] }

// CreateFile makes the file, or empties one that is there.
func CreateFile[T Row](path string) (*File[T], error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	var zero T
	return &File[T]{newPart[T](f, zero.Table())}, nil
}

// Write appends a row.
func (f *File[T]) Write(row T) error { return f.part.append(row) }

// Close writes what is left and the footer, and fsyncs.
func (f *File[T]) Close() error {
	return f.part.finish(map[string]string{footerSchema: SchemaVersion})
}
