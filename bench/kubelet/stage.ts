// Where a whole node and its control plane run for a benchmark: folders of its own, and nothing of them stays.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseConfig, resetMachine } from '@nodelet/node-agent'
import type { NodeConfigInput } from '@nodelet/node-agent'
import { pino } from 'pino'

export interface Stage {
  folder: string
  /** Part of all names. */
  name: string
  /** Of the node. */
  place: NodeConfigInput & { root: string; run: string }
  /** Of the control plane. */
  plane: NodeConfigInput
  /** Aborted by SIGINT and SIGTERM. */
  signal: AbortSignal
  /** One line for who waits. */
  tell(this: void, text: string): void
}

/**
 * Runs the benchmark, cleans up and ends the process: with 130 when a signal ended it. A second signal does not wait.
 * @throws what the benchmark throws, once all is cleaned up
 */
export async function onStage(work: (stage: Stage) => Promise<void>): Promise<never> {
  const folder = mkdtempSync(join(tmpdir(), 'nodelet-bench-'))
  const name = folder.slice(folder.lastIndexOf('-') + 1)
  const run = `/run/nodelet-${name}`
  const cgroupRoot = `/nodelet-${name}`
  const place = { root: join(folder, 'state'), run, cgroupRoot, nodeName: 'bench', nodeIPs: ['127.0.0.1'] }
  const plane: NodeConfigInput = { ...place, root: join(folder, 'cluster'), run: `${run}c`, parts: ['cluster'] }
  const tell = (text: string): void => void process.stderr.write(`• ${text}\n`)
  const stopping = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.on(signal, () => {
      if (stopping.signal.aborted) process.exit(130)
      tell(`${signal}: cleaning up`)
      stopping.abort(new Error(`ended by ${signal}`))
    })
  }
  try {
    await work({ folder, name, place, plane, signal: stopping.signal, tell })
  } catch (error) {
    if (!stopping.signal.aborted) throw error
    process.exitCode = 130
  } finally {
    const log = pino({ level: 'silent' })
    for (const input of [place, plane]) await resetMachine(parseConfig(input, 'benchmark'), log, () => undefined)
    rmSync(folder, { recursive: true, force: true })
  }
  return process.exit()
}
