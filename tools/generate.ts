// Regenerates the checked-in code of every .proto file and the table of a Pod's types: `npm run generate`. With --out DIR writes
// there instead.
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { podTypesFile, podTypesText } from './pod-types.ts'

const root = resolve(import.meta.dirname, '..')
const options = [
  'outputServices=grpc-js',
  'env=node',
  'forceLong=bigint',
  'importSuffix=.ts',
  'useOptionals=messages',
  'esModuleInterop=true',
  'enumsAsLiterals=true',
]

/** Every package with a `proto` folder, and where its generated code lives. */
export const protoPackages: { proto: string; out: string }[] = [
  { proto: 'packages/cri-api/proto', out: 'packages/cri-api/src/gen' },
  { proto: 'packages/csi-node/proto', out: 'packages/csi-node/src/gen' },
  { proto: 'packages/kubelet-core/proto', out: 'packages/kubelet-core/src/gen' },
]

/** Runs buf with ts-proto over one proto folder; takes about a quarter of a second. */
export function generate(proto: string, out: string): void {
  const temporary = mkdtempSync(join(tmpdir(), 'nodelet-buf-'))
  try {
    const template = join(temporary, 'buf.gen.json')
    const plugin = { local: join(root, 'node_modules/.bin/protoc-gen-ts_proto'), out: resolve(root, out), opt: options }
    writeFileSync(template, JSON.stringify({ version: 'v2', plugins: [plugin] }))
    execFileSync(join(root, 'node_modules/.bin/buf'), ['generate', '--template', template, proto], {
      cwd: root,
      stdio: 'inherit',
    })
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { out: { type: 'string' } } })
  const at = (path: string): string => resolve(root, values.out ?? '', path)
  for (const { proto, out } of protoPackages) generate(proto, at(out))
  mkdirSync(dirname(at(podTypesFile)), { recursive: true })
  writeFileSync(at(podTypesFile), podTypesText())
}
