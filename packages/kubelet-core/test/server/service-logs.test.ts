// Logs of services: of a real journal, and of files.
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, get, type IncomingMessage } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, it, onTestFinished } from 'vitest'
import { HttpError } from '../../src/server/http-error.ts'
import { parseLogQuery } from '../../src/server/log-query.ts'
import { serveLogQuery, type ServiceLogs } from '../../src/server/service-logs.ts'
import { until } from '../until.ts'

const journald = '/lib/systemd/systemd-journald'
const unit = `nodelet-test-${process.pid}`
/** Where a journal daemon looks for the unit of a process. */
const hierarchy = ['unified', '', 'systemd']
  .map((name) => join('/sys/fs/cgroup', name))
  .find((path) => existsSync(join(path, 'cgroup.procs')))
let root: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'service-logs-'))
  mkdirSync(join(root, 'nested'))
  writeFileSync(join(root, 'plain'), 'plain file\n')
  writeFileSync(join(root, 'web.log'), 'web file\n')
  writeFileSync(join(root, 'nested/nested.log'), 'nested file\n')
  symlinkSync('/etc/hostname', join(root, 'outside'))
})
afterAll(() => rmSync(root, { recursive: true }))

async function serve(more: Partial<ServiceLogs>) {
  const left: string[] = []
  const server = createServer((request, response) => {
    const gone = new AbortController()
    response.once('close', () => gone.abort(new Error('the client has left')))
    const query = parseLogQuery(new URL(request.url ?? '', 'http://kubelet').searchParams)
    if (!query) throw new Error(`nothing asked: ${request.url}`)
    serveLogQuery(query, { request, response }, { root, signal: gone.signal, ...more }).catch((error: unknown) => {
      left.push(String(error))
      if (!response.headersSent) response.writeHead(error instanceof HttpError ? error.status : 500).end(String(error))
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const begin = async (query: string, headers = {}): Promise<IncomingMessage> => {
    const [response] = (await once(
      get({ host: '127.0.0.1', port, path: `/?${query}`, headers, agent: false }),
      'response',
    )) as [IncomingMessage]
    return response
  }
  const ask = async (query: string): Promise<string> =>
    (await (await begin(query)).setEncoding('utf8').toArray()).join('')
  return { begin, ask, left }
}

it('shows files of services, in the order of their names, and says what is not there', async () => {
  const { ask, begin } = await serve({ journalctl: ['/none/journalctl'] })
  expect(await ask('query=plain&query=web&query=nested')).toBe('plain file\nweb file\nnested file\n')
  expect(await ask('query=web.log')).toBe('web file\n')
  expect(await ask('query=/nested/nested.log')).toBe('nested file\n')
  for (const name of ['none', 'outside', '..']) expect(await ask(`query=${name}`)).toBe(`\nlog not found for ${name}\n`)
  expect(await ask('query=web&query=plain&boot=0')).toBe(
    '\noptions present and query resolved to log files for [web plain]\ntry without specifying options\n',
  )
  for (const file of ['/none', '/outside', '/../etc/hostname']) {
    const response = await begin(`query=${file}`)
    expect([response.statusCode, (await response.setEncoding('utf8').toArray()).join('')]).toEqual([
      406,
      `HttpError: query: Invalid value: ["${file}"]: no such file or directory`,
    ])
  }
})

/** Writes three lines as a unit of our own, to a journal of our own. */
const write = `
  set -e
  mount -t tmpfs none /run && mount -t tmpfs none /var/log && mkdir -p /run/systemd/journal /run/log/journal
  ${journald} & daemon=$!
  while [ ! -S /run/systemd/journal/stdout ]; do sleep 0.02; done
  sh -c 'echo $$ > "$0/cgroup.procs"; (printf "%s\\n" "first line" "second line" "<third> LINE"; sleep 0.5) | systemd-cat -t writer' "$1"
  kill $daemon; wait $daemon || true
  cp -r /run/log/journal "$2"`

it.skipIf(!existsSync(journald) || !hierarchy)('shows what a unit has written to the journal', async () => {
  const [cgroup, copy] = [join(hierarchy ?? '', `${unit}.service`), join(root, 'journal')]
  mkdirSync(cgroup)
  try {
    const namespaces = ['-m', '-p', '-f', '--mount-proc', '--propagation', 'private']
    execFileSync('unshare', [...namespaces, 'sh', '-c', write, 'sh', cgroup, copy], { timeout: 20_000, stdio: 'pipe' })
  } finally {
    await until(() => removed(cgroup))
  }
  const { ask, begin } = await serve({ journalctl: ['journalctl', `--directory=${copy}`] })
  const lines = async (query: string) => (await ask(query)).split('\n').map((line) => line.replace(/^.*writer\S+ /, ''))
  const all = ['first line', 'second line', '<third> LINE', '']
  expect(await lines(`query=${unit}`)).toEqual(all)
  expect(await lines(`query=${unit}.service&query=web`)).toEqual([...all.slice(0, 3), 'web file', ''])
  expect(await lines(`query=${unit}&tailLines=1`)).toEqual(all.slice(2))
  expect(await lines(`query=${unit}&pattern=^(first|second)`)).toEqual(['first line', 'second line', ''])
  expect(await lines(`query=${unit}&untilTime=2001-01-01T00:00:00Z`)).toEqual(['-- No entries --', ''])
  expect(await lines(`query=${unit}&sinceTime=2001-01-01T00:00:00Z&boot=0`)).toEqual(all)
  expect(await ask(`query=${unit}&boot=-5`)).toContain('boot')
  const packed = await begin(`query=${unit}`, { 'accept-encoding': 'gzip' })
  expect(packed.headers['content-encoding']).toBe('gzip')
  expect(gunzipSync(Buffer.concat((await packed.toArray()) as Buffer[])).toString()).toContain('second line')
})

const removed = (cgroup: string): boolean => {
  try {
    rmdirSync(cgroup)
    return true
  } catch {
    return false // its last process is still on its way out
  }
}

/** Knows the unit `endless`, and says without end which process it is. */
const endless = ['sh', '-c', 'case "$*" in *--field*) echo endless.service;; *) while echo $$; do :; done;; esac', 'sh']
const isAlive = (pid: string): boolean => existsSync(`/proc/${pid}`)

it('ends after the longest time with what there was, and the program too', async () => {
  const { ask } = await serve({ journalctl: endless as [string, ...string[]], limitMs: 300 })
  const [pid = ''] = (await ask('query=endless')).split('\n')
  expect(pid).toMatch(/^\d+$/)
  await until(() => !isAlive(pid))
})

it('waits for slow readers, and ends the program when the client leaves', async () => {
  const { begin, left } = await serve({ journalctl: endless as [string, ...string[]] })
  const response = await begin('query=endless')
  const [piece] = (await once(response, 'data')) as [Buffer]
  const [pid = ''] = piece.toString().split('\n')
  response.pause()
  let waits = 0 // how often in a row it was seen waiting to write
  await until(() => (waits = readFileSync(`/proc/${pid}/stat`, 'utf8').includes(' S ') ? waits + 1 : 0) > 20)
  response.destroy()
  await until(() => !isAlive(pid))
  await until(() => left.length > 0)
})
