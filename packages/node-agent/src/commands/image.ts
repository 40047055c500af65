// `nodelet image …`: through the running agent, or on the store itself when none runs.
import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { openImages } from '@nodelet/runtime-runc'
import { foldersOf } from '../config.ts'
import type { NodeConfig } from '../config.ts'
import { agentStatus, askImages } from '../control/client.ts'
import { runImageCommand } from '../control/images.ts'
import type { Answer, ImageLine, ImageRequest } from '../control/protocol.ts'
import { openScreen } from '../demo/screen.ts'
import { checkMachine } from '../machine.ts'
import { untilSignal } from './session.ts'

const barWidth = 24

function barOf(done: number, total: number): string {
  const full = total > 0 ? Math.min(barWidth, Math.floor((done / total) * barWidth)) : barWidth
  return `[${'#'.repeat(full)}${' '.repeat(barWidth - full)}]`
}

const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

/** Does one command; the path `-` of an import is standard input. */
export async function image(config: NodeConfig, request: ImageRequest): Promise<void> {
  checkMachine()
  const signal = untilSignal()
  if (request.command !== 'import' || request.path !== '-') return show(config, request, signal)
  const folder = await mkdtemp(join(tmpdir(), 'nodelet-import-'))
  try {
    const path = join(folder, 'archive.tar')
    await pipeline(process.stdin, createWriteStream(path, { mode: 0o600 }), { signal })
    await show(config, { ...request, path }, signal)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function show(config: NodeConfig, request: ImageRequest, signal: AbortSignal): Promise<void> {
  const screen = openScreen(process.stdout)
  const layers = new Map<string, string>()
  const lines: string[][] = []
  for await (const answer of ask(config, request, signal)) {
    if ('progress' in answer) {
      const { digest, done, total } = answer.progress
      const bar = process.stdout.isTTY ? `${barOf(done, total)}  ` : ''
      layers.set(digest, `${digest.slice(7, 19)}  ${bar}${mib(done)} of ${mib(total)}`)
      screen.draw([...layers.values()])
    } else if ('image' in answer) lines.push(...rowsOf(answer.image))
    else if ('details' in answer) screen.print(JSON.stringify(answer.details, null, 2))
    else if ('exported' in answer) screen.print(`wrote ${answer.exported}`)
    else if ('removed' in answer) screen.print(`removed ${answer.removed}`)
  }
  screen.keep()
  if (request.command === 'list' || lines.length > 0) {
    for (const line of columns([['IMAGE', 'ID', 'SIZE'], ...lines])) screen.print(line)
  }
}

async function* ask(config: NodeConfig, request: ImageRequest, signal: AbortSignal): AsyncGenerator<Answer, void> {
  const folders = foldersOf(config)
  // The agent has another working directory.
  const asked =
    request.command === 'import' || request.command === 'export' ? { ...request, path: resolve(request.path) } : request
  if (await agentStatus(folders.controlSocket)) {
    yield* askImages(folders.controlSocket, asked, signal)
    return
  }
  await using images = await openImages({ root: folders.images, registryConfigPath: config.registryConfigPath })
  yield* runImageCommand(images, asked, signal)
}

function rowsOf({ id, tags, digests, size }: ImageLine): string[][] {
  const names = tags.length > 0 ? tags : digests.length > 0 ? digests : ['<none>']
  return names.map((name) => [name, id.slice(7, 19), mib(size)])
}

function columns(rows: readonly string[][]): string[] {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
