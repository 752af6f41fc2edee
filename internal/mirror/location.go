package mirror

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// awsEndpoint is where s3:// locations are.
const awsEndpoint = "s3.amazonaws.com"

// Location is where a copy is: a bucket and the prefix of its objects.
type Location struct {
	endpoint string // host and port
	secure   bool
	bucket   string
	prefix   string // ends in a slash, or is empty
}

// ParseLocation reads s3://BUCKET/PREFIX for Amazon S3, or https://HOST/BUCKET/PREFIX for
// another store. The prefix may be empty.
func ParseLocation(text string) (Location, error) {
	const want = "want s3://BUCKET/PREFIX, or https://HOST/BUCKET/PREFIX for a store other than Amazon's"
	u, err := url.Parse(text)
	if err != nil {
		return Location{}, errors.New(want) // the error has the text, which may have a password
	}
	if u.User != nil {
		return Location{}, errors.New("credentials do not belong in the address, which is logged: use a file or environment variables")
	}
	at := Location{endpoint: u.Host, secure: u.Scheme != "http"}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "s3":
		at.endpoint, at.bucket, at.prefix = awsEndpoint, u.Host, path
	case "http", "https":
		at.bucket, at.prefix, _ = strings.Cut(path, "/")
	}
	if at.bucket == "" || at.endpoint == "" || u.RawQuery != "" || u.Fragment != "" || !fs.ValidPath(at.bucket+"/"+strings.TrimSuffix("x/"+at.prefix, "/")) {
		return Location{}, fmt.Errorf("%q: %s", text, want)
	}
	if at.prefix != "" {
		at.prefix += "/"
	}
	return at, nil
}

// Secure reports whether the connection is encrypted and the server's certificate verified.
func (l Location) Secure() bool { return l.secure }

// base is the address of the objects, as readers such as DuckDB want it.
func (l Location) base() string {
	return strings.TrimSuffix("s3://"+l.bucket+"/"+l.prefix, "/")
}

// String is the location as ParseLocation reads it.
func (l Location) String() string {
	scheme := "http"
	if l.secure {
		scheme = "https"
	}
	if l.endpoint == awsEndpoint {
		return l.base()
	}
	return strings.TrimSuffix(scheme+"://"+l.endpoint+"/"+l.bucket+"/"+l.prefix, "/")
}

// ErrNoCredentials means that neither a file nor the environment has credentials.
var ErrNoCredentials = errors.New("no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a file in the format of ~/.aws/credentials")

// Credentials are those in a file in the format of ~/.aws/credentials or, without a name,
// those of the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN).
// The file's profile is AWS_PROFILE, or default. A file is read again when its credentials
// expire.
func Credentials(file string) (*credentials.Credentials, error) {
	if file == "" {
		if os.Getenv("AWS_ACCESS_KEY_ID") == "" || os.Getenv("AWS_SECRET_ACCESS_KEY") == "" {
			return nil, ErrNoCredentials
		}
		return credentials.NewEnvAWS(), nil
	}
	if _, err := os.ReadFile(file); err != nil {
		return nil, err
	}
	c := credentials.NewFileAWSCredentials(file, "")
	got, err := c.GetWithContext(nil)
	if err != nil || got.AccessKeyID == "" || got.SecretAccessKey == "" { // the error may have a line of the file
		return nil, fmt.Errorf("%s: want the format of ~/.aws/credentials, with aws_access_key_id and aws_secret_access_key of the profile %s", file, cmp.Or(os.Getenv("AWS_PROFILE"), "default"))
	}
	return c, nil
}
