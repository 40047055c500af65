// Threads that are born in a network namespace: their sockets are there, at a tenth of a process's cost.
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { inNamespace } from '@nodelet/linux'

/** Runs a script in a namespace; `workerData` is what it is given. It keeps the namespace until it ends. */
export const threadIn = (netns: string, script: string, workerData: object): Worker =>
  inNamespace('net', netns, () => new Worker(script, { eval: true, workerData }))

const server = `
  const { parentPort, workerData: { port, name } } = require('node:worker_threads')
  const told = (address) => name + address.replace('::ffff:', '')
  const tcp = require('node:net').createServer((socket) => socket.end(told(socket.remoteAddress)))
  const udp = require('node:dgram').createSocket('udp6')
  udp.on('message', (_, { address, port }) => udp.send(told(address), port, address))
  tcp.listen(port, '::', () => udp.bind(port, () => parentPort.postMessage('ready')))
`

/** Answers each connection and each datagram with the name and where it came from, until the thread is terminated. */
export async function serveIn(netns: string, port: number, name: string): Promise<Worker> {
  const thread = threadIn(netns, server, { port, name })
  await once(thread, 'message')
  return thread
}

export interface Question {
  address: string
  port: number
  /** Default: as routes say. */
  from?: string
  /** The asking side's port, by UDP; without it TCP asks. */
  udpPort?: number
  patienceMs: number
}

const client = `
  const { parentPort, workerData: { address, port, from, udpPort, patienceMs } } = require('node:worker_threads')
  const end = (message) => {
    parentPort.postMessage(message)
    process.exit()
  }
  const fail = ({ code }) => end({ code })
  setTimeout(() => fail({ code: 'nobody' }), patienceMs)
  if (udpPort) {
    const socket = require('node:dgram').createSocket(address.includes(':') ? 'udp6' : 'udp4')
    socket.on('error', fail).on('message', (text) => end({ text: String(text) }))
    socket.bind(udpPort, () => socket.send('x', port, address))
  } else {
    const socket = require('node:net').connect({ port, host: address, localAddress: from })
    let text = ''
    socket.on('error', fail).on('data', (data) => (text += data)).on('end', () => end({ text }))
  }
`

/** @returns what is answered, or why nothing is: the code of an error, or "nobody" */
export async function askIn(netns: string, question: Question): Promise<{ text: string } | { code: string }> {
  const thread = threadIn(netns, client, question)
  // The namespace may be gone only when the thread is.
  const [[answer]] = await Promise.all([once(thread, 'message'), once(thread, 'exit')])
  return answer as { text: string } | { code: string }
}
