import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { connectPackets, notifyService, openPty, pinNamespaces, tcpSocket, unpinNamespace } from '../src/index.ts'

async function textOf(socket: Duplex): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await once(socket, 'end')
  socket.destroy()
  return text
}

test('a terminal has its size, raw mode, and ends with its program', async () => {
  const pty = openPty({ columns: 91, rows: 17 })
  const script = 'test -t 0 && stty size; stty -a | grep -o -e "-echo " -e "-icanon"; read x; stty size; echo "got $x"'
  const child = spawn('sh', ['-c', script], { stdio: [pty.slave, pty.slave, pty.slave] })
  pty.releaseSlave()
  const text = textOf(pty.master)
  await once(pty.master, 'data')
  pty.resize({ columns: 100, rows: 40 })
  pty.master.write('line\n')
  expect(await text).toBe('17 91\n-icanon\n-echo \n40 100\ngot line\n')
  expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(0)
})

test('a terminal whose program does not read takes no thread and loses nothing', async () => {
  const pty = openPty()
  const child = spawn('sh', ['-c', 'sleep 0.3; head -c 200000 | wc -c'], { stdio: [pty.slave, pty.slave, pty.slave] })
  pty.releaseSlave()
  pty.master.write(Buffer.alloc(200_000, 'a'))
  expect((await textOf(pty.master)).trim()).toBe('200000')
  expect(child.exitCode ?? (await once(child, 'exit'))[0]).toBe(0)
})

test('a slow reader of a terminal gets everything, even after the program has ended', async () => {
  const pty = openPty()
  const child = spawn('sh', ['-c', 'seq 1 3000'], { stdio: [pty.slave, pty.slave, pty.slave] })
  pty.releaseSlave()
  let text = ''
  pty.master.on('data', (chunk: Buffer) => {
    text += chunk.toString()
    pty.master.pause()
    setTimeout(() => pty.master.resume(), 20)
  })
  await once(pty.master, 'end')
  await sleep(0)
  expect(text.trim().split('\n')).toHaveLength(3000)
  expect(child.exitCode).toBe(0)
})

test('TCP sockets live in the namespace they were made in', async () => {
  await using server = createServer((socket) => socket.end('outside'))
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  const path = `/tmp/nodelet-net-${process.pid}`
  pinNamespaces({ paths: { net: path } })
  try {
    const here = tcpSocket('IPv4').connect(port, '127.0.0.1')
    expect(await textOf(here)).toBe('outside')
    const there = tcpSocket('IPv4', path).connect(port, '127.0.0.1')
    const [error] = (await once(there, 'error').catch((cause: unknown) => [cause])) as [NodeJS.ErrnoException]
    expect(error.code).toBe('ENETUNREACH') // its loopback is down
  } finally {
    unpinNamespace(path)
  }
})

test('packets keep their boundaries both ways, and the end of input is told', async () => {
  const path = `/tmp/nodelet-packets-${process.pid}`
  const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); s.listen(1); print('up', flush=True)
c, _ = s.accept(); c.send(b'one'); c.send(b'two')
sizes = []
while True:
    data = c.recv(65536)
    if not data: break
    sizes.append(len(data))
c.send(str(sizes).encode()); c.close()`
  const child = spawn('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    await once(child.stdout, 'data')
    const socket = connectPackets(path)
    const packets: string[] = []
    socket.on('data', (packet: Buffer) => packets.push(packet.toString()))
    await new Promise((resolve) => socket.write(Buffer.alloc(1000), resolve))
    await new Promise((resolve) => socket.write(Buffer.alloc(30_000), resolve))
    socket.end()
    await once(socket, 'close')
    expect(packets).toEqual(['one', 'two', '[1000, 30000]'])
  } finally {
    child.kill()
    rmSync(path, { force: true })
  }
})

test.each(['in a folder', 'abstract'])('a service manager with a socket %s is told', async (kind) => {
  const abstract = kind === 'abstract'
  const path = abstract ? `@nodelet-notify-${process.pid}` : `/tmp/nodelet-notify-${process.pid}.sock`
  const script = `
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(chr(0) + name[1:] if name[0] == '@' else name); print('bound', flush=True)
print(s.recv(100).decode(), flush=True)`
  const child = spawn('python3', ['-c', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
    await lines.next()
    expect(notifyService('READY=1\nSTATUS=well', path)).toBe(true)
    expect([(await lines.next()).value, (await lines.next()).value]).toEqual(['READY=1', 'STATUS=well'])
  } finally {
    child.kill()
    rmSync(path, { force: true })
  }
  expect(() => notifyService('READY=1', '/tmp/nobody-is-here.sock')).toThrow(/ENOENT: connect \/tmp\/nobody-is-here/)
  expect(notifyService('READY=1', undefined)).toBe(false)
})
