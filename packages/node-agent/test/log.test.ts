import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openLog } from '../src/log.ts'

test('an error says once what it says, and its stack has the causes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'log-'))
  try {
    const file = join(folder, 'agent.log')
    const log = openLog('info', file)
    const cause = new Error('no such disk')
    log.warn({ err: new Error(`mount failed: ${cause.message}`, { cause }) }, 'pod turn failed')
    const written = (): string => (existsSync(file) ? readFileSync(file, 'utf8') : '')
    await expect.poll(written, { timeout: 60_000 }).toContain('\n')
    expect(JSON.parse(written())).toMatchObject({
      msg: 'pod turn failed',
      err: {
        type: 'Error',
        message: 'mount failed: no such disk',
        stack: expect.stringContaining('caused by: Error: no such disk') as string,
      },
    })
  } finally {
    rmSync(folder, { recursive: true })
  }
})
