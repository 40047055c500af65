// The system's bus of D-Bus. @see https://dbus.freedesktop.org/doc/dbus-specification.html, "Authentication Protocol"
import { Socket } from 'node:net'
import { decodeAnswer, encodeCall, lengthOf } from './dbus-message.ts'
import type { Call } from './dbus-message.ts'

/** A call that was answered with an error. */
export class BusError extends Error {
  override readonly name = 'BusError'
}

export interface Bus extends Disposable {
  /** The answer's first value, where it is a text or a truth. @throws BusError */
  call(call: Call): Promise<string | boolean | undefined>
}

const busName = 'org.freedesktop.DBus'
export const bus: Pick<Call, 'destination' | 'path' | 'interface'> = {
  destination: busName,
  path: '/org/freedesktop/DBus',
  interface: busName,
}

/** Of the bus's socket; undefined for an address of another kind. */
export function pathOf(address: string | undefined): string | undefined {
  if (!address) return '/run/dbus/system_bus_socket'
  const [, path] = /(?:^|;)unix:(?:[^;]*,)?path=([^,;]+)/.exec(address) ?? []
  try {
    return path === undefined ? undefined : decodeURIComponent(path)
  } catch {
    return undefined // not escaped as it should be
  }
}

/** @throws Error where there is no bus, or it lets nobody in */
export async function openBus(signal: AbortSignal): Promise<Bus> {
  const address = process.env['DBUS_SYSTEM_BUS_ADDRESS']
  const path = pathOf(address)
  if (path === undefined) throw new Error(`DBUS_SYSTEM_BUS_ADDRESS: ${address}: not the path of a socket`)
  const socket = new Socket({ signal })
  const pieces: AsyncIterator<Buffer> = socket[Symbol.asyncIterator]()
  let bytes = Buffer.alloc(0)
  const more = async (): Promise<void> => {
    const { value, done } = await pieces.next()
    if (done) throw new Error(`${path} was closed`)
    bytes = Buffer.concat([bytes, value])
  }
  let serial = 0
  const call: Bus['call'] = async (what) => {
    serial += 1
    socket.write(encodeCall(serial, what))
    for (;;) {
      const length = lengthOf(bytes)
      if (length === undefined || bytes.length < length) {
        await more()
        continue
      }
      const answer = decodeAnswer(bytes.subarray(0, length))
      bytes = bytes.subarray(length)
      if (answer?.serial !== serial) continue // signals, and calls of others
      if (answer.error !== undefined) throw new BusError(`${answer.error}: ${String(answer.value ?? '')}`)
      return answer.value
    }
  }
  try {
    socket.connect(path)
    socket.write(`\0AUTH EXTERNAL ${Buffer.from(String(process.getuid?.())).toString('hex')}\r\n`)
    while (!bytes.includes('\r\n')) await more()
    if (!bytes.toString('latin1').startsWith('OK ')) throw new Error(`${path}: ${bytes.toString('latin1').trim()}`)
    bytes = bytes.subarray(bytes.indexOf('\r\n') + 2)
    socket.write('BEGIN\r\n')
    await call({ ...bus, member: 'Hello' })
  } catch (error) {
    socket.destroy()
    throw error
  }
  return { call, [Symbol.dispose]: () => void socket.destroy() }
}
