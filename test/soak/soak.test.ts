// NODELET_SOAK says how many lives (default 30), NODELET_SEED which ones.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

const lives = Number(process.env['NODELET_SOAK'] ?? 30)
const seed = Number(process.env['NODELET_SEED'] ?? Date.now() % 100_000)

test(`${lives} lives of pods end without a trace (seed ${seed})`, { timeout: 120_000 + lives * 10_000 }, async () => {
  const args = ['--conditions=@nodelet/source', join(import.meta.dirname, 'run.ts'), String(lives), String(seed)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
  expect({ code, said }).toEqual({ code: 0, said: '' })
})
