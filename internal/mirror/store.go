package mirror

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// storeRetries is how often the client sends a request; a round is repeated anyway.
	storeRetries = 3
	// minTimeout and minRate (bytes/s) bound a request: a store that has stalled must not
	// hold a round forever.
	minTimeout = 2 * time.Minute
	minRate    = 64 << 10
)

// store is the part of a bucket below a prefix.
type store struct {
	at     Location
	client minio.Core
	clock  *serverClock
}

// openStore makes a client; it sends nothing yet.
func openStore(at Location, keys *credentials.Credentials) (*store, error) {
	transport, err := minio.DefaultTransport(at.secure)
	if err != nil {
		return nil, err
	}
	clock := &serverClock{RoundTripper: transport}
	region := cmp.Or(os.Getenv("AWS_REGION"), os.Getenv("AWS_DEFAULT_REGION"))
	if at.endpoint != awsEndpoint {
		region = cmp.Or(region, "us-east-1") // most stores have no regions
	}
	client, err := minio.NewCore(at.endpoint, &minio.Options{Creds: keys, Secure: at.secure, Region: region, Transport: clock, MaxRetries: storeRetries})
	if err != nil {
		return nil, err
	}
	client.SetAppInfo("valtrack", "1")
	return &store{at: at, client: *client, clock: clock}, nil
}

// serverClock remembers what the store's answers say about the time.
type serverClock struct {
	http.RoundTripper
	offset atomic.Pointer[time.Duration] // of the server's clock from ours
}

// RoundTrip implements http.RoundTripper.
func (c *serverClock) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		offset := time.Until(at)
		c.offset.Store(&offset)
	}
	return resp, nil
}

// limited bounds a request that moves so many bytes.
func limited(ctx context.Context, bytes int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, minTimeout+time.Duration(bytes/minRate)*time.Second)
}

// put stores an object. The request is signed over sum, the SHA-256 of the content: a store
// that receives something else refuses it.
func (s *store) put(ctx context.Context, name string, content io.ReadSeeker, size int64, sum [sha256.Size]byte) error {
	ctx, cancel := limited(ctx, size)
	defer cancel()
	_, err := s.client.PutObject(ctx, s.at.bucket, s.at.prefix+name, content, size, "", hex.EncodeToString(sum[:]), minio.PutObjectOptions{
		ContentType:  "application/octet-stream",
		UserMetadata: map[string]string{"X-Amz-Checksum-Sha256": base64.StdEncoding.EncodeToString(sum[:])},
	})
	return s.explain("store", name, err)
}

// verify reports whether the store has an object with exactly this content; false when it has
// none or another. It goes by the checksum that the store has computed or, where it does not
// tell one, reads the object.
func (s *store) verify(ctx context.Context, name string, size int64, sum [sha256.Size]byte) (bool, error) {
	bounded, cancel := limited(ctx, 0)
	defer cancel()
	info, err := s.client.StatObject(bounded, s.at.bucket, s.at.prefix+name, minio.StatObjectOptions{Checksum: true})
	if err = s.explain("look up", name, err); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	if info.Size != size {
		return false, nil
	}
	if info.ChecksumSHA256 != "" {
		return info.ChecksumSHA256 == base64.StdEncoding.EncodeToString(sum[:]), nil
	}
	hash := sha256.New()
	err = s.get(ctx, name, size, hash)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && [sha256.Size]byte(hash.Sum(nil)) == sum, err
}

// get writes an object of at most limit bytes to w; fs.ErrNotExist when there is none.
func (s *store) get(ctx context.Context, name string, limit int64, w io.Writer) error {
	ctx, cancel := limited(ctx, limit)
	defer cancel()
	body, _, _, err := s.client.GetObject(ctx, s.at.bucket, s.at.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return s.explain("read", name, err)
	}
	defer body.Close()
	n, err := io.Copy(w, io.LimitReader(body, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("it has more than %d bytes", limit)
	}
	return s.explain("read", name, err)
}

// remove deletes an object; one that does not exist is no error.
func (s *store) remove(ctx context.Context, name string) error {
	ctx, cancel := limited(ctx, 0)
	defer cancel()
	err := s.explain("delete", name, s.client.RemoveObject(ctx, s.at.bucket, s.at.prefix+name, minio.RemoveObjectOptions{}))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// object is one that the store has. Its age is by the store's own clock, 0 while that is not known.
type object struct {
	name  string
	bytes int64
	age   time.Duration
}

// list calls each with the objects below a directory.
func (s *store) list(ctx context.Context, dir string, each func(object)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	prefix := s.at.prefix + dir + "/"
	for o := range s.client.Client.ListObjects(ctx, s.at.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.explain("list", dir, o.Err)
		}
		found := object{name: o.Key[len(s.at.prefix):], bytes: o.Size}
		if offset := s.clock.offset.Load(); offset != nil {
			found.age = time.Since(o.LastModified) + *offset
		}
		each(found)
	}
	return nil
}

// refusedError is an answer of the store that will be the same next time.
type refusedError struct{ error }

// Unwrap implements errors.Unwrap.
func (e refusedError) Unwrap() error { return e.error }

// explain names the object, and marks what is missing with fs.ErrNotExist. The library's
// errors have no credentials.
func (s *store) explain(what, name string, err error) error {
	if err == nil {
		return nil
	}
	switch answer := minio.ToErrorResponse(err); answer.Code {
	case minio.NoSuchKey:
		err = fs.ErrNotExist
	case minio.NoSuchBucket:
		err = refusedError{fmt.Errorf("bucket %s does not exist: create it", s.at.bucket)}
	case minio.AccessDenied, "InvalidAccessKeyId", "SignatureDoesNotMatch":
		err = refusedError{fmt.Errorf("the store refuses these credentials (%s: %s)", answer.Code, answer.Message)}
	}
	return fmt.Errorf("%s %s in %s: %w", what, name, s.at, err)
}
