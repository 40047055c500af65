// `nodelet image …`: through the running agent, or on the store itself when none runs.
import { createWriteStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { openImages } from '@nodelet/runtime-runc'
import { foldersOf, imagesOptionsOf } from '../config.ts'
import type { NodeConfig } from '../config.ts'
import { agentStatus, askImages } from '../control/client.ts'
import { runImageCommand } from '../control/images.ts'
import type { Answer, ImageLine, ImageRequest } from '../control/protocol.ts'
import { openScreen } from '../demo/screen.ts'
import { checkMachine } from '../machine.ts'
import { untilSignal } from './signal.ts'

const barWidth = 24

function barOf(done: number, total: number): string {
  const full = total > 0 ? Math.min(barWidth, Math.floor((done / total) * barWidth)) : barWidth
  return `[${'#'.repeat(full)}${' '.repeat(barWidth - full)}]`
}

const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`

export interface ImageOptions {
  /** IDs alone. */
  quiet?: boolean
  /** Default: a table. */
  output?: 'json' | 'table'
}

/** Does one command; the path `-` of an import is standard input. */
export async function image(config: NodeConfig, request: ImageRequest, options: ImageOptions = {}): Promise<void> {
  checkMachine(config)
  const signal = untilSignal()
  try {
    if (request.command !== 'import' || request.path !== '-') return await show(config, request, options, signal)
    const folder = await mkdtemp(join(tmpdir(), 'nodelet-import-'))
    try {
      const path = join(folder, 'archive.tar')
      await pipeline(process.stdin, createWriteStream(path, { mode: 0o600 }), { signal })
      await show(config, { ...request, path }, options, signal)
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error
  }
}

async function show(
  config: NodeConfig,
  request: ImageRequest,
  { quiet = false, output = 'table' }: ImageOptions,
  signal: AbortSignal,
): Promise<void> {
  const screen = openScreen(process.stdout)
  const layers = new Map<string, string>()
  const images: ImageLine[] = []
  const pruned: ImageLine[] = []
  for await (const answer of ask(config, request, signal)) {
    if ('progress' in answer) {
      const { digest, done, total } = answer.progress
      // A log is told what has come, not how it comes.
      if (quiet || (!process.stdout.isTTY && done < total)) continue
      const bar = process.stdout.isTTY ? `${barOf(done, total)}  ` : ''
      layers.set(digest, `${short(digest)}  ${bar}${mib(done)} of ${mib(total)}`)
      screen.draw([...layers.values()])
    } else if ('image' in answer) images.push(answer.image)
    else if ('pruned' in answer) pruned.push(answer.pruned)
    else if ('details' in answer) screen.print(JSON.stringify(answer.details, null, 2))
    else if ('exported' in answer) screen.print(`wrote ${answer.exported}`)
    else if ('removed' in answer) screen.print(`removed ${answer.removed}`)
  }
  screen.keep()
  if (request.command === 'prune') {
    const [does, has] = request.isDryRun ? ['would remove', 'would free'] : ['removed', 'freed']
    for (const one of pruned) screen.print(`${does} ${namesOf(one).join(', ')}`)
    const bytes = pruned.reduce((sum, { size }) => sum + size, 0)
    screen.print(`${has} ${mib(bytes)} of ${pruned.length} ${pruned.length === 1 ? 'image' : 'images'}, as compressed`)
  } else if (request.command !== 'list' && images.length === 0) return
  else if (quiet) for (const { id } of images) screen.print(id)
  else if (output === 'json') screen.print(JSON.stringify({ images }, null, 2))
  else for (const line of columns([['IMAGE', 'ID', 'SIZE'], ...images.flatMap(rowsOf)])) screen.print(line)
}

const short = (digest: string): string => digest.slice(digest.indexOf(':') + 1).slice(0, 12)

async function* ask(config: NodeConfig, request: ImageRequest, signal: AbortSignal): AsyncGenerator<Answer, void> {
  const folders = foldersOf(config)
  // The agent has another working directory.
  const asked =
    request.command === 'import' || request.command === 'export' ? { ...request, path: resolve(request.path) } : request
  if (await agentStatus(folders.controlSocket)) {
    yield* askImages(folders.controlSocket, asked, signal)
    return
  }
  await using images = await openImages(imagesOptionsOf(config))
  yield* runImageCommand(images, asked, signal)
}

const namesOf = ({ id, tags, digests }: ImageLine): string[] =>
  tags.length > 0 ? tags : digests.length > 0 ? digests : [`<none> ${id}`]

const rowsOf = (image: ImageLine): string[][] =>
  namesOf(image).map((name) => [name.startsWith('<none>') ? '<none>' : name, short(image.id), mib(image.size)])

function columns(rows: readonly string[][]): string[] {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
}
