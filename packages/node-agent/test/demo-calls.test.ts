// What the demo says of a Service that it cannot reach.
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

test('on a machine without a default route the remedy is a route, told at once', async () => {
  const calls = join(import.meta.dirname, '../src/demo/calls.ts')
  const script = `
    const { callFromHost, callMany } = await import(${JSON.stringify(calls)})
    const { signal } = new AbortController()
    const error = await callMany(1, () => callFromHost('http://192.0.2.1/', signal), signal).catch((one) => one)
    console.log(JSON.stringify([error.message, error.remedy]))`
  const node = [process.execPath, '--conditions=@nodelet/source', '--input-type=module', '--eval', script]
  const { stdout } = await promisify(execFile)('unshare', ['-n', ...node])
  const [message, remedy] = JSON.parse(stdout) as [string, string]
  expect(message).toContain('ENETUNREACH')
  expect(remedy).toContain('ip route add default')
})
