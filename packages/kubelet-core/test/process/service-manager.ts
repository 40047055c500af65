// A service manager's side of sd_notify: a real datagram socket, whose messages are collected.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'

const script = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1]); print('bound', flush=True)
while True: print(s.recv(100).decode(), flush=True)`

export interface ServiceManager extends AsyncDisposable {
  /** What came, in order. */
  readonly said: string[]
}

export async function startServiceManager(socket: string): Promise<ServiceManager> {
  const child = spawn('python3', ['-c', script, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
  const said: string[] = []
  const lines = createInterface(child.stdout)
  await once(lines, 'line')
  lines.on('line', (line) => said.push(line))
  return {
    said,
    async [Symbol.asyncDispose]() {
      child.kill()
      await once(child, 'exit')
    },
  }
}
