"""The HTTP interface of ClickHouse, as far as Valtrack uses it, in front of chdb: the current
engine in a process. Runs one statement after another, on 127.0.0.1; prints its port first.
Usage: server.py DIRECTORY [PORT]"""

import os
import pathlib
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from chdb.session import Session


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def run(self, statement, data):
        if statement:  # an insert; in a statement, chdb takes an empty line for the data's end
            self.server.data.write_bytes(data)
            head, tail = statement.split(") ", 1)
            statement = f"{head}) FROM INFILE '{self.server.data}' {tail}"
        else:
            statement = data.decode()
        try:
            return 200, self.server.session.query(statement, "TSV").bytes()
        except Exception as error:  # the server's words
            return 500, str(error).encode()

    def do_POST(self):
        try:
            data = self.body()
        except (ValueError, OSError):
            self.close_connection = True
            return
        statement = parse_qs(urlsplit(self.path).query).get("query", [""])[0]
        with self.server.lock:
            status, answer = self.run(statement, data)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
server.daemon_threads = True
server.lock = threading.Lock()
server.session = Session(sys.argv[1] + "/store")
server.data = pathlib.Path(sys.argv[1]) / "data.bin"
print(server.server_address[1], flush=True)


def until_input_ends():
    sys.stdin.read()
    server.shutdown()


threading.Thread(target=until_input_ends, daemon=True).start()
server.serve_forever()
os._exit(0)  # chdb's own end crashes at times
