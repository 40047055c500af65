// What the service proxy costs, from an event of the API to the kernel, and what its rules cost connections: `npm run bench:proxy`.
// Needs root, and the tools of the modes. All happens in namespaces of its own, and nothing of it stays.
import { fork, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isNamespacePinned, unpinNamespace } from '@nodelet/linux'
import { runAlone } from './alone.ts'
import type { CaseFigures, CaseInput } from './proxy/case.ts'
import { parseSize, sizeText } from './proxy/cluster.ts'
import { guestProgram, modes, whereIs, type Where } from './proxy/modes.ts'
import { print, type Measured } from './proxy/report.ts'

const { values } = parseArgs({
  options: {
    sizes: { type: 'string', default: '100,1000,5000,10000x2,10000' },
    modes: { type: 'string', default: Object.keys(modes).join(',') },
    changes: { type: 'string', default: '20' },
    seconds: { type: 'string', default: '1' },
    rounds: { type: 'string', default: '1' },
    limit: { type: 'string', default: '60' },
    help: { type: 'boolean', default: false },
  },
})
if (values.help) {
  console.log(`npm run bench:proxy -- [options]
  --sizes 100,1000,5000,10000x2,10000   Services, x endpoints of each; default: 5
  --modes ${Object.keys(modes).join(',')}
  --changes 20                          of one endpoint each, one after the other
  --seconds 1                           for each kind of connection
  --rounds 1                            of everything
  --limit 60                            seconds for each load of the Go proxy's texts; 0: without these`)
  process.exit()
}
runAlone()

const tell = (text: string): boolean => process.stderr.write(`• ${text}\n`)
const [changes, seconds, rounds, limitSeconds] = [values.changes, values.seconds, values.rounds, values.limit].map(
  Number,
) as [number, number, number, number]
const sizes = values.sizes.split(',').map(parseSize)
const wanted = values.modes.split(',').map((name) => {
  const mode = modes[name]
  if (!mode)
    throw new RangeError(`--modes: ${JSON.stringify(name)} is none; there are ${Object.keys(modes).join(', ')}`)
  return { name, mode }
})
const present = wanted.flatMap(({ name, mode }) => {
  const where = whereIs(mode)
  if (!where) tell(`${name}: ${mode.go ? `${mode.go.loader[0]} is not here` : 'no IPVS, and no User-Mode Linux'}`)
  return where ? [{ name, where }] : []
})
/** As the agent runs. */
const execArgv = [...process.execArgv, '--max-semi-space-size=2']
/** Of the guest: its process alone has a third at 10,000 × 5. */
const guestMemory = '2G'
const guestSeconds = 1800
const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-'))
let ending: NodeJS.Signals | undefined
let running: ChildProcess | undefined
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    ending = signal
    running?.kill('SIGKILL')
  })
}

/** In a guest of its own it prints what it would tell. */
function startInGuest(args: readonly string[]): ChildProcess {
  const command = [process.execPath, ...execArgv, ...args]
  const guest = ['-d', '0', '-m', guestMemory, '-t', String(guestSeconds), '--', ...command]
  return spawn(guestProgram, guest, { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function measure(input: CaseInput, where: Where): Promise<CaseFigures> {
  const args = [join(import.meta.dirname, 'proxy/case.ts'), JSON.stringify(input)]
  const [file = '', text = ''] = args
  // JSON knows no Infinity.
  const options = { execArgv, serialization: 'advanced' } as const
  const child = where === 'guest' ? startInGuest(args) : fork(file, [text], options)
  running = child
  let figures: CaseFigures | undefined
  child.on('message', (message: CaseFigures) => (figures = message))
  let said = ''
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => (said += piece))
  const [code] = (await once(child, 'close')) as [number]
  if (ending) throw new Error(`ended by ${ending}`)
  figures ??= said.split('\n').flatMap((line) => (line.startsWith('{') ? [JSON.parse(line) as CaseFigures] : []))[0]
  if (!figures) throw new Error(`${input.mode} with ${sizeText(input.size)} ended with ${code} and told nothing`)
  return figures
}

/** What a process that was killed left. */
function clear(): void {
  for (const name of readdirSync(folder)) {
    if (isNamespacePinned(join(folder, name))) unpinNamespace(join(folder, name))
    rmSync(join(folder, name), { force: true })
  }
}

try {
  tell(`in ${folder}`)
  const all: Measured[] = []
  for (const size of sizes) {
    for (const { name, where } of present) {
      const figures: CaseFigures[] = []
      for (let round = 0; round < rounds; round += 1) {
        tell(`${sizeText(size)}, ${name}`)
        figures.push(await measure({ mode: name, size, folder, changes, seconds, limitSeconds }, where))
        clear()
      }
      all.push({ mode: name, where, size, rounds: figures })
    }
  }
  print(all, limitSeconds)
} finally {
  clear()
  rmSync(folder, { recursive: true, force: true })
}
