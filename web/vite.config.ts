import { gzipSync } from "fflate";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

// Files are committed and embedded compressed. fflate, because what zlib writes differs between
// machines.
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    writeBundle({ dir }) {
      for (const entry of readdirSync(dir!, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile()) continue;
        const file = join(entry.parentPath, entry.name);
        writeFileSync(file + ".gz", gzipSync(readFileSync(file), { level: 9, mtime: 0 }));
        rmSync(file);
      }
    },
  };
}

export default defineConfig({
  base: "./", // also served below a path, by any file server
  plugins: [compressed()],
  build: {
    outDir: "../internal/dashboard/files",
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0, // the policy allows no data: images
    target: "es2022",
    reportCompressedSize: false,
  },
});
