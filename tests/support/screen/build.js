// One script and one style sheet of Grafana's components, into the folder that the command line names.

import { build } from 'esbuild';

await build({
  entryPoints: { screen: 'main.jsx' },
  outdir: process.argv[2],
  bundle: true,
  minify: true,
  jsx: 'automatic',
  logLevel: 'error',
  loader: { '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'empty' },
  // The editor of queries is large, and in no dashboard.
  alias: { 'monaco-editor': './nothing.js', '@monaco-editor/react': './nothing.js' },
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
});
