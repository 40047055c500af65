// A plain HTTP server that listens until it is disposed of.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface PlainServer extends AsyncDisposable {
  readonly port: number
}

/** @throws Error when the port is taken */
export async function startPlainServer(
  { address, port }: { address: string; port: number },
  listener: RequestListener,
): Promise<PlainServer> {
  const server = createServer(listener)
  server.listen(port, address)
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
}
