import socket,struct
Z={'export.arxiv.org':'198.18.40.4','intern.example.org':'10.0.0.9','meta.example.org':'169.254.169.254'}
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.bind(('127.0.0.1',15399))
while 1:
  d,a=s.recvfrom(2048)
  i=12; n=[]
  while d[i]: n.append(d[i+1:i+1+d[i]].decode().lower()); i+=d[i]+1
  q=d[12:i+5]; t=struct.unpack('>H',d[i+1:i+3])[0]; name='.'.join(n)
  ip=Z.get(name)
  if ip is None: r=d[:2]+b'\x81\x83'+struct.pack('>HHHH',1,0,0,0)+q
  elif t==1: r=d[:2]+b'\x81\x80'+struct.pack('>HHHH',1,1,0,0)+q+b'\xc0\x0c'+struct.pack('>HHIH',1,1,30,4)+socket.inet_aton(ip)
  else: r=d[:2]+b'\x81\x80'+struct.pack('>HHHH',1,0,0,0)+q
  s.sendto(r,a)
