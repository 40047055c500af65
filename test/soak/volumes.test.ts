// NODELET_VOLUME_SOAK says for how many seconds pods come and go (default 5), NODELET_SEED which ones.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'

const seconds = Number(process.env['NODELET_VOLUME_SOAK'] ?? 5)
const seed = Number(process.env['NODELET_SEED'] ?? Date.now() % 100_000)
const patienceMs = 420_000 + seconds * 2000

test(
  `pods keep their volumes, and only theirs, for ${seconds} s of kills (seed ${seed})`,
  { timeout: patienceMs },
  async () => {
    const args = [
      '--conditions=@nodelet/source',
      join(import.meta.dirname, 'volumes.ts'),
      String(seconds),
      String(seed),
    ]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    const [said, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')])
    expect({ code, said }).toEqual({ code: 0, said: '' })
  },
)
